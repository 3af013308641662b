/* The text format of Prometheus, version 0.0.4, as the textfile collector reads it. */
#ifndef STATUS_PROM_H
#define STATUS_PROM_H

#include <stddef.h>
#include <stdint.h>

struct prom_label {
    const char *name, *value;
};

/* Starts a family: its lines of HELP and TYPE. name and help are static texts. */
void prom_family(const char *name, const char *type, const char *help);

/* A sample of a family. Values of labels are any valid UTF-8; what is special in them is escaped.
 */
void prom_sample(const char *name, const struct prom_label *labels, size_t count, int64_t value);

/* The same in seconds, of milliseconds. */
void prom_seconds(const char *name, const struct prom_label *labels, size_t count, int64_t ms);

#endif
