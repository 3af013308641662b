/* --help, and the dump of the table that the tests compare with all that is written of it. */
#include "common/opt_help.h"

#include <stdio.h>
#include <string.h>

#include "common/out.h"
#include "tasker/buf.h"

#define HELP_COLUMN 32

static void help_row(const struct opt *opt)
{
    char left[128];
    if (!opt->help)
        return;
    int n = opt->letter ? snprintf(left, sizeof left, "  -%c, --%s", opt->letter, opt->name)
                        : snprintf(left, sizeof left, "      --%s", opt->name);
    if (opt->arg)
        n += snprintf(left + n, sizeof left - (size_t)n, " %s", opt->arg);
    const char *fallback =
        opt->kind == OPT_KEY ? tsk_conf_spec((enum tsk_conf_key)opt->offset)->fallback : "";
    if (n >= HELP_COLUMN - 1) {
        out_printf("%s", left);
        *left = '\0';
    }
    if (*fallback)
        out_printf("%-*s%s [%s]", HELP_COLUMN, left, opt->help, fallback);
    else
        out_printf("%-*s%s", HELP_COLUMN, left, opt->help);
}

/* One line a form of the synopsis, the program's name before each. */
static void help_usage(const struct program *program)
{
    const char *label = "usage:";
    for (const char *form = program->synopsis; form;) {
        size_t len = strcspn(form, "\n");
        out_printf("%-6s %s %.*s", label, program->name, (int)len, form);
        form = form[len] ? form + len + 1 : NULL;
        label = "";
    }
}

void opt_help(const struct program *program, const struct opt *common, size_t count)
{
    help_usage(program);
    out_printf("\n%s\n", program->description);
    for (size_t i = 0; i < program->count; i++)
        help_row(&program->opts[i]);
    out_printf("%s", program->count ? "\nCommon options:" : "Common options:");
    for (size_t i = 0; i < count; i++)
        help_row(&common[i]);
    out_printf("\nSee %s(1) and tasker(7).", program->name);
}

static void dump_row(const struct opt *opt)
{
    char letter[2] = {opt->letter, '\0'};
    if (opt->help)
        out_printf("%s\t%s\t%s", letter, opt->name, opt->arg ? opt->arg : "");
}

void opt_dump(const struct program *program, const struct opt *common, size_t count)
{
    for (size_t i = 0; i < program->count; i++)
        dump_row(&program->opts[i]);
    for (size_t i = 0; i < count; i++)
        dump_row(&common[i]);
}
