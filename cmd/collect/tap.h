/* tasker-collect --tap: every message of some endpoints, without being noticed. */
#ifndef COLLECT_TAP_H
#define COLLECT_TAP_H

#include <stdint.h>

#include "collect/collect.h"
#include "tasker/buf.h"
#include "tasker/bus.h"

/* Returns what is wrong with the options together, or NULL. */
const char *tap_clash(const struct options *opts);

/* Taps the endpoints that operands name, or, of none, the configured ones; changes of conf how
 * often it tries to connect. Returns the status to end with. */
enum tsk_exit tap_run(const struct options *opts, struct tsk_conf *conf, char *const *operands,
                      size_t count);

#endif
