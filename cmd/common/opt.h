/* Options: one table a program drives parsing, --help and the dump that the tests compare with the
 * manual page and the completions. */
#ifndef COMMON_OPT_H
#define COMMON_OPT_H

#include <stddef.h>
#include <stdint.h>

#include "tasker/conf.h"

enum opt_kind {
    OPT_FLAG,     /* bool at offset becomes true */
    OPT_COUNT,    /* int64_t, how often it was given */
    OPT_INT,      /* int64_t, within least and most */
    OPT_SIZE,     /* int64_t, bytes */
    OPT_DURATION, /* int64_t, milliseconds */
    OPT_STRING,   /* const char * */
    OPT_LIST,     /* struct opt_list, appended */
    OPT_CHOICE,   /* int, the place of the word among choices */
    OPT_KEY,      /* sets the configuration key at offset */
};

struct opt_list {
    const char **items; /* never freed: it lives as long as the program */
    size_t count, cap;
};

struct opt {
    char letter;      /* 0: none */
    const char *name; /* without -- */
    const char *arg;  /* its name in --help (upper case), or NULL */
    enum opt_kind kind;
    size_t offset;       /* into the program's struct of options; OPT_KEY: enum tsk_conf_key */
    const char *help;    /* one line, no full stop */
    int64_t least, most; /* OPT_INT, OPT_SIZE, OPT_DURATION */
    const char *choices; /* OPT_CHOICE: words by commas */
};

struct program {
    const char *name;        /* "tasker-publish" */
    const char *synopsis;    /* "[option ...] [FILE ...]"; more forms follow a newline */
    const char *description; /* one or two sentences for --help */
    const struct opt *opts;
    size_t count;
    size_t least, most; /* operands */
};

/* Parses the command line into opts, loads the configuration below it, sets up diag, and returns
 * the index in argv of the first operand. Ends the program for --help, --version (0, on stdout) and
 * on any error (64 or 78, one line on stderr). *conf is the caller's to free. Options common to all
 * programs (-c -e --set -v -q --log-format -h -V) are added here. */
int opt_parse(const struct program *program, int argc, char **argv, void *opts,
              struct tsk_conf **conf);

#endif
