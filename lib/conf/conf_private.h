/* What the files of the configuration share and nobody else needs. */
#ifndef LIB_CONF_PRIVATE_H
#define LIB_CONF_PRIVATE_H

#include <stdbool.h>

#include "tasker/conf.h"

/* Sets key from text, where a relative PATH is taken from dir (NULL: left as it is). Returns 0, or
 * -1 with kind TSK_USAGE and a text that names neither key nor origin. */
int tsk_conf_put(struct tsk_conf *conf, enum tsk_conf_key key, const char *text, const char *dir,
                 const char *origin, struct tsk_err *err);

/* Remember which file was used, whether it has a section for the environment, and which environment
 * that is; the texts are copied. */
void tsk_conf_note_file(struct tsk_conf *conf, const char *path, bool section);
void tsk_conf_note_environment(struct tsk_conf *conf, const char *name);
bool tsk_conf_has_section(const struct tsk_conf *conf);

/* Adds to the warning or the remark of conf. */
void tsk_conf_add_note(struct tsk_conf *conf, bool warning, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether name is a section of the table; one of the four usual environments; or may be that of
 * another one, as it is no slip in an environment, nor, if nothing is below it, in a section. */
bool tsk_conf_is_section(const char *name);
bool tsk_conf_is_environment(const char *name);
bool tsk_conf_names_environment(const char *name, bool has_sections);

/* As tsk_unknown, with the key, section or environment that is near. */
int tsk_conf_unknown(enum tsk_exit kind, const char *what, const char *name, struct tsk_err *err);

/* Reads the file at path into conf: its sections, then those that it has for environment. Returns
 * 0, or -1 with kind TSK_CONFIG, FILE:LINE in the text, and errno in code if it cannot be read. */
int tsk_conf_read(struct tsk_conf *conf, const char *path, const char *environment,
                  struct tsk_err *err);

#endif
