/* Options by a table. The command line is read twice in effect: getopt_long collects the rows, so
 * that --config is known before the configuration is loaded, and then the rows are applied in
 * order on top of it. */
#include "common/opt.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/opt_help.h"
#include "common/out.h"
#include "tasker/buf.h"
#include "tasker/parse.h"

/* What all programs have; the offsets are into struct common. */
struct common {
    const char *config, *environment;
    struct opt_list set;
    int64_t verbose;
    bool quiet, help, version, dump;
};

static const struct opt common_opts[] = {
    {'c', "config", "FILE", OPT_STRING, offsetof(struct common, config),
     "read this configuration file", 0, 0, NULL},
    {'e', "environment", "NAME", OPT_STRING, offsetof(struct common, environment),
     "use this section of it: development, test, production, staging", 0, 0, NULL},
    {0, "set", "SECTION.KEY=VALUE", OPT_LIST, offsetof(struct common, set),
     "set any configuration key", 0, 0, NULL},
    {0, "log-format", "FORMAT", OPT_KEY, TSK_LOG_FORMAT, "form of messages on stderr: text or json",
     0, 0, NULL},
    {'v', "verbose", NULL, OPT_COUNT, offsetof(struct common, verbose),
     "tell more on stderr; twice: everything", 0, 0, NULL},
    {'q', "quiet", NULL, OPT_FLAG, offsetof(struct common, quiet), "tell only errors", 0, 0, NULL},
    {'h', "help", NULL, OPT_FLAG, offsetof(struct common, help), "show this help and exit", 0, 0,
     NULL},
    {'V', "version", NULL, OPT_FLAG, offsetof(struct common, version), "show the version and exit",
     0, 0, NULL},
    {0, "dump-options", NULL, OPT_FLAG, offsetof(struct common, dump), NULL, 0, 0, NULL},
};

#define COMMON_COUNT (sizeof common_opts / sizeof *common_opts)

/* One option as it was given. */
struct given {
    const struct opt *opt;
    const char *value;
};

struct parse {
    const struct program *program;
    struct common common;
    void *opts; /* the program's own */
    struct given *given;
    size_t count, cap;
    struct option *longs; /* for getopt_long; here, so that they are not lost at an exit */
    char *letters;
};

static void usage_error(const char *program)
{
    diag_error("see \"%s --help\"", program);
    exit(TSK_USAGE);
}

static const struct opt *row(const struct program *program, size_t i)
{
    return i < program->count ? &program->opts[i] : &common_opts[i - program->count];
}

/* Fills what getopt_long wants: long names whose value is 256 + row, and the letters. */
static void make_tables(const struct program *program, struct option *longs, char *letters)
{
    *letters++ = ':';
    for (size_t i = 0; i < program->count + COMMON_COUNT; i++) {
        const struct opt *opt = row(program, i);
        int has_arg = opt->arg ? required_argument : no_argument;
        longs[i] = (struct option){opt->name, has_arg, NULL, 256 + (int)i};
        if (!opt->letter)
            continue;
        *letters++ = opt->letter;
        if (opt->arg)
            *letters++ = ':';
    }
    *letters = '\0';
}

static const struct opt *by_letter(const struct program *program, int letter)
{
    for (size_t i = 0; i < program->count + COMMON_COUNT; i++) {
        if (row(program, i)->letter == letter)
            return row(program, i);
    }
    return NULL;
}

static void unknown_option(const struct program *program, char **argv, int at)
{
    const char *names[128];
    size_t count = 0, total = program->count + COMMON_COUNT;
    for (size_t i = 0; i < total && count < 128; i++) {
        if (row(program, i)->help)
            names[count++] = row(program, i)->name;
    }
    const char *text = argv[at];
    const char *near = !strncmp(text, "--", 2) ? tsk_nearest(text + 2, names, count) : NULL;
    if (strncmp(text, "--", 2) && optopt)
        diag_error("unknown option -%c", optopt);
    else if (near)
        diag_error("unknown option %s (did you mean --%s?)", text, near);
    else
        diag_error("unknown option %s", text);
    usage_error(program->name);
}

static void collect(struct parse *parse, int argc, char **argv)
{
    const struct program *program = parse->program;
    size_t total = program->count + COMMON_COUNT;
    parse->longs = tsk_alloc((total + 1) * sizeof *parse->longs);
    parse->letters = tsk_alloc(2 * total + 2);
    make_tables(program, parse->longs, parse->letters);
    opterr = 0;
    for (int c, at = 1; (c = getopt_long(argc, argv, parse->letters, parse->longs, NULL)) != -1;
         at = optind) {
        if (c == ':') {
            diag_error("option %s needs a value", argv[optind - 1]);
            usage_error(program->name);
        }
        if (c == '?')
            unknown_option(program, argv, !optopt || optopt >= 256 ? optind - 1 : at);
        const struct opt *opt = c >= 256 ? row(program, (size_t)c - 256) : by_letter(program, c);
        parse->given = tsk_grow(parse->given, &parse->cap, parse->count + 1, sizeof *parse->given);
        parse->given[parse->count++] = (struct given){opt, optarg};
    }
    free(parse->longs);
    free(parse->letters);
}

static bool is_common(const struct opt *opt)
{
    return opt >= common_opts && opt < common_opts + COMMON_COUNT;
}

static int choose(const struct opt *opt, const char *value, int *to, struct tsk_err *err)
{
    int64_t place = 0;
    int rc = tsk_parse_choice(value, opt->choices, &place, err);
    *to = (int)place;
    return rc;
}

static void append(struct opt_list *list, const char *value)
{
    list->items = tsk_grow(list->items, &list->cap, list->count + 1, sizeof *list->items);
    list->items[list->count++] = value;
}

/* Puts one option's value where its row says. Keys are for the configuration and come later. */
static int store(const struct opt *opt, const char *value, void *base, struct tsk_err *err)
{
    void *to = (char *)base + opt->offset;
    switch (opt->kind) {
    case OPT_FLAG:
        *(bool *)to = true;
        return 0;
    case OPT_COUNT:
        ++*(int64_t *)to;
        return 0;
    case OPT_STRING:
        *(const char **)to = value;
        return 0;
    case OPT_LIST:
        append(to, value);
        return 0;
    case OPT_INT:
        return tsk_parse_int(value, opt->least, opt->most, to, err);
    case OPT_SIZE:
        return tsk_parse_size(value, opt->least, opt->most, to, err);
    case OPT_DURATION:
        return tsk_parse_duration(value, opt->least, opt->most, to, err);
    case OPT_CHOICE:
        return choose(opt, value, to, err);
    case OPT_KEY:
        break;
    }
    return 0;
}

static void apply(struct parse *parse)
{
    struct tsk_err err;
    for (size_t i = 0; i < parse->count; i++) {
        const struct opt *opt = parse->given[i].opt;
        if (opt->kind == OPT_KEY)
            continue;
        void *base = is_common(opt) ? (void *)&parse->common : parse->opts;
        if (store(opt, parse->given[i].value, base, &err) < 0) {
            diag_error("--%s: %s", opt->name, err.text);
            usage_error(parse->program->name);
        }
    }
}

/* Lays the flags over the configuration. Returns 0, or -1 with err. */
static int apply_keys(struct parse *parse, struct tsk_conf *conf, struct tsk_err *err)
{
    for (size_t i = 0; i < parse->common.set.count; i++) {
        if (tsk_conf_assign(conf, parse->common.set.items[i], "--set", err) < 0)
            return -1;
    }
    for (size_t i = 0; i < parse->count; i++) {
        const struct opt *opt = parse->given[i].opt;
        char origin[64] = "--";
        strncat(origin, opt->name, sizeof origin - 3);
        if (opt->kind == OPT_KEY && tsk_conf_set(conf, (enum tsk_conf_key)opt->offset,
                                                 parse->given[i].value, origin, err) < 0)
            return -1;
    }
    return 0;
}

static void show_and_exit(const struct program *program, const struct common *common)
{
    if (common->dump)
        opt_dump(program, common_opts, COMMON_COUNT);
    else if (common->help)
        opt_help(program, common_opts, COMMON_COUNT);
    else
        out_printf("%s %s", program->name, TASKER_VERSION);
    exit(out_close(TSK_OK));
}

/* -v and -q change the key itself: sockets are watched only where somebody will be told. */
static void set_level(struct tsk_conf *conf, const struct common *common)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    int64_t level = tsk_conf_int(conf, TSK_LOG_LEVEL) + common->verbose;
    if (level > DIAG_DEBUG)
        level = DIAG_DEBUG;
    if (common->quiet)
        tsk_conf_set(conf, TSK_LOG_LEVEL, names[DIAG_ERROR], "--quiet", NULL);
    else if (common->verbose)
        tsk_conf_set(conf, TSK_LOG_LEVEL, names[level], "--verbose", NULL);
}

static struct tsk_conf *load(struct parse *parse)
{
    const struct common *common = &parse->common;
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err;
    if (tsk_conf_load(conf, common->config, common->environment, &err) < 0 ||
        apply_keys(parse, conf, &err) < 0)
        exit(diag_err(&err));
    set_level(conf, common);
    diag_format((enum diag_level)tsk_conf_int(conf, TSK_LOG_LEVEL),
                tsk_conf_int(conf, TSK_LOG_FORMAT) == 1);
    if (tsk_conf_warning(conf))
        diag_warn("%s", tsk_conf_warning(conf));
    if (tsk_conf_remark(conf))
        diag_info("%s", tsk_conf_remark(conf));
    return conf;
}

static void check_operands(const struct program *program, size_t count, char **operands)
{
    if (count > program->most) {
        diag_error("unexpected operand \"%s\"", operands[program->most]);
        usage_error(program->name);
    }
    if (count < program->least) {
        diag_error("an operand is missing");
        usage_error(program->name);
    }
}

/* Whoever started us may have closed stdin, stdout or stderr. The next file opened would then take
 * its place; so something does that fails when it is used. */
static void fill_closed_fds(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

int opt_parse(const struct program *program, int argc, char **argv, void *opts,
              struct tsk_conf **conf)
{
    struct parse parse = {.program = program, .opts = opts};
    diag_name(program->name);
    fill_closed_fds();
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error like any other: see out.h */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow any more */
    collect(&parse, argc, argv);
    apply(&parse);
    if (parse.common.help || parse.common.version || parse.common.dump)
        show_and_exit(program, &parse.common);
    check_operands(program, (size_t)(argc - optind), argv + optind);
    *conf = load(&parse);
    free(parse.common.set.items);
    free(parse.given);
    return optind;
}
