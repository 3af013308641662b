/* Samples, a line each. */
#include "status/prom.h"

#include <inttypes.h>

#include "common/out.h"
#include "tasker/buf.h"

void prom_family(const char *name, const char *type, const char *help)
{
    out_printf("# HELP %s %s", name, help);
    out_printf("# TYPE %s %s", name, type);
}

static void add_escaped(struct tsk_buf *line, const char *text)
{
    struct tsk_buf plain = TSK_BUF_INIT;
    tsk_plain_str(&plain, text);
    for (const char *c = plain.data; c && *c; c++) {
        if (*c == '\\' || *c == '"')
            tsk_buf_char(line, '\\');
        tsk_buf_char(line, *c);
    }
    tsk_buf_fini(&plain);
}

static void add_name(struct tsk_buf *line, const char *name, const struct prom_label *labels,
                     size_t count)
{
    tsk_buf_str(line, name);
    for (size_t i = 0; i < count; i++) {
        tsk_buf_printf(line, "%s%s=\"", i ? "," : "{", labels[i].name);
        add_escaped(line, labels[i].value);
        tsk_buf_char(line, '"');
    }
    tsk_buf_str(line, count ? "} " : " ");
}

void prom_sample(const char *name, const struct prom_label *labels, size_t count, int64_t value)
{
    struct tsk_buf line = TSK_BUF_INIT;
    add_name(&line, name, labels, count);
    tsk_buf_printf(&line, "%" PRId64, value);
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

void prom_seconds(const char *name, const struct prom_label *labels, size_t count, int64_t ms)
{
    struct tsk_buf line = TSK_BUF_INIT;
    add_name(&line, name, labels, count);
    tsk_buf_printf(&line, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}
