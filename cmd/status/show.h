/* How what was found is printed. */
#ifndef STATUS_SHOW_H
#define STATUS_SHOW_H

#include "status/look.h"

/* The table, then what there is to say of each. */
void show_text(const struct look *looks, size_t count, const struct options *opts);

/* One object, on a line. */
void show_json(const struct look *look);

#endif
