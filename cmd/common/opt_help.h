/* The two ways in which an option table is shown; private to opt.c. */
#ifndef COMMON_OPT_HELP_H
#define COMMON_OPT_HELP_H

#include "common/opt.h"

/* Writes --help to stdout (out.h): the program's own options, then the common ones. */
void opt_help(const struct program *program, const struct opt *common, size_t count);

/* Writes one line an option, "LETTER<TAB>NAME<TAB>ARG", the missing ones empty; what has no help
 * is hidden and left out. */
void opt_dump(const struct program *program, const struct opt *common, size_t count);

#endif
