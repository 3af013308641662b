/* A template, or a live task with its states, as a picture: for Graphviz (--dot) or Mermaid. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "submit/submit.h"
#include "tasker/buf.h"
#include "tasker/state.h"
#include "tasker/store.h"

static const struct {
    const char *state, *colour;
} colours[] = {
    {"pending", "#eeeeee"},           {"enqueued", "#d0e4ff"}, {"in_progress", "#ffe9a8"},
    {"complete", "#c8f0c8"},          {"error", "#ffc9c9"},    {"cancelled", "#d8d8d8"},
    {"resolved_manually", "#d9f2e6"}, {"skipped", "#f4f4f4"},
};

enum { COLOURS = sizeof colours / sizeof *colours };

struct drawing {
    bool mermaid;
    struct tsk_buf text; /* of one line */
};

static const char *colour_of(const char *state)
{
    for (size_t i = 0; state && i < COLOURS; i++) {
        if (strcmp(colours[i].state, state) == 0)
            return colours[i].colour;
    }
    return "#ffffff";
}

/* Adds text so that it can stand between double quotes in either language. */
static void add_quoted(const struct drawing *drawing, struct tsk_buf *out, const char *text)
{
    struct tsk_buf plain = TSK_BUF_INIT;
    tsk_plain_str(&plain, text);
    for (const char *c = plain.data; *c; c++) {
        if (drawing->mermaid && strchr("\"\\<>&#;", *c))
            tsk_buf_printf(out, "#%d;", *c);
        else if (!drawing->mermaid && (*c == '"' || *c == '\\'))
            tsk_buf_printf(out, "\\%c", *c);
        else
            tsk_buf_char(out, *c);
    }
    tsk_buf_fini(&plain);
}

static void begin(struct drawing *drawing, const char *title)
{
    struct tsk_buf *text = &drawing->text;
    tsk_buf_reset(text);
    add_quoted(drawing, text, title);
    if (drawing->mermaid) {
        out_printf("---\ntitle: \"%s\"\n---\nflowchart TD", text->data);
        for (size_t i = 0; i < COLOURS; i++)
            out_printf("  classDef %s fill:%s,stroke:#666666,color:#000000", colours[i].state,
                       colours[i].colour);
        out_printf("  classDef optional stroke-dasharray:5 3");
        return;
    }
    out_printf("digraph task {\n  label=\"%s\"; labelloc=t; rankdir=TB;\n"
               "  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", "
               "fillcolor=\"#ffffff\"];",
               text->data);
}

/* state may be NULL. note is what stands below the name, or NULL. */
static void node(struct drawing *drawing, int64_t id, const char *name, const char *state,
                 const char *note, bool dashed)
{
    struct tsk_buf *text = &drawing->text;
    tsk_buf_reset(text);
    add_quoted(drawing, text, name);
    if (note && *note) {
        tsk_buf_str(text, drawing->mermaid ? "<br>" : "\\n");
        add_quoted(drawing, text, note);
    }
    if (drawing->mermaid)
        out_printf("  s%lld[\"%s\"]%s%s", (long long)id, text->data, state ? ":::" : "",
                   state ? state : "");
    else
        out_printf("  s%lld [label=\"%s\", fillcolor=\"%s\"%s];", (long long)id, text->data,
                   colour_of(state), dashed ? ", style=\"rounded,filled,dashed\"" : "");
    if (drawing->mermaid && dashed)
        out_printf("  class s%lld optional", (long long)id);
}

/* choice: the one behind waits only for what the other may ask for. */
static void edge(const struct drawing *drawing, int64_t from, int64_t to, bool choice)
{
    if (drawing->mermaid)
        out_printf("  s%lld %s s%lld", (long long)from, choice ? "-.->" : "-->", (long long)to);
    else
        out_printf("  s%lld -> s%lld%s;", (long long)from, (long long)to,
                   choice ? " [style=dashed]" : "");
}

static void end(struct drawing *drawing)
{
    if (!drawing->mermaid)
        out_printf("}");
    tsk_buf_fini(&drawing->text);
}

/* Which steps are skipped if nobody asks for the optional ones (the caller's). */
static bool *find_skipped(const struct tsk_template *template)
{
    bool *skipped = tsk_alloc(template->count + 1);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < template->count; i++) {
            const struct tsk_template_step *step = &template->steps[i];
            bool run = skipped[i] || step->when_skipped == TSK_WHEN_SKIPPED_RUN;
            for (size_t d = 0; d < step->depends_count && !run; d++)
                run = !skipped[step->depends[d]] && !template->steps[step->depends[d]].optional;
            if (!run && step->depends_count)
                skipped[i] = more = true;
        }
    }
    return skipped;
}

static void draw_template(struct drawing *drawing, const struct tsk_template *template)
{
    char title[256];
    snprintf(title, sizeof title, "%.80s/%.80s %.40s", template->namespace_name, template->name,
             template->version);
    begin(drawing, title);
    bool *skipped = find_skipped(template);
    for (size_t i = 0; i < template->count; i++) {
        const struct tsk_template_step *step = &template->steps[i];
        node(drawing, (int64_t)i, step->name, NULL,
             step->optional ? "(optional)"
             : skipped[i]   ? "(skipped if nothing before it runs)"
                            : NULL,
             step->optional);
    }
    free(skipped);
    for (size_t i = 0; i < template->count; i++) {
        for (size_t d = 0; d < template->steps[i].depends_count; d++)
            edge(drawing, (int64_t) template->steps[i].depends[d], (int64_t)i, false);
    }
    end(drawing);
}

/* ---- a live task */

static const char get_task[] =
    "SELECT namespace, name, version, state FROM tasks WHERE task_id = $1";
static const char get_steps[] =
    "SELECT s.id, s.name, " TSK_STEP_STATE_SHOWN("s") ", s.attempts, s.error_category, "
    "s.created_by FROM steps s WHERE s.task = $1 ORDER BY s.place, s.created_index, s.id";
static const char get_edges[] = "SELECT from_step, to_step, choice FROM step_dependencies "
                                "WHERE task = $1 ORDER BY from_step, to_step";

struct live {
    struct drawing *drawing;
    int64_t task;
    bool found;
};

static int on_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct live *live = ctx;
    char title[320];
    (void)columns;
    snprintf(title, sizeof title, "task %lld: %.80s/%.80s %.40s, %.20s", (long long)live->task,
             tsk_value_str(&row[0]), tsk_value_str(&row[1]), tsk_value_str(&row[2]),
             tsk_value_str(&row[3]));
    live->found = true;
    begin(live->drawing, title);
    return 0;
}

static int on_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    const struct live *live = ctx;
    char note[160];
    (void)columns;
    snprintf(note, sizeof note, "%.20s%s%.60s", tsk_value_str(&row[2]),
             *tsk_value_str(&row[4]) ? ": " : "", tsk_value_str(&row[4]));
    if (row[3].number > 1)
        snprintf(note + strlen(note), sizeof note - strlen(note), ", attempt %lld",
                 (long long)row[3].number);
    node(live->drawing, row[0].number, tsk_value_str(&row[1]), tsk_value_str(&row[2]), note,
         row[5].type == TSK_INT);
    return 0;
}

static int on_edge(void *ctx, const struct tsk_value *row, size_t columns)
{
    const struct live *live = ctx;
    (void)columns;
    edge(live->drawing, row[0].number, row[1].number, row[2].number != 0);
    return 0;
}

static int read_task(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct live *live = ctx;
    struct tsk_value task = tsk_value_int(live->task);
    if (tsk_store_run(store, get_task, &task, 1, on_task, live, err) < 0)
        return -1;
    if (!live->found)
        return tsk_err_set(err, TSK_NO, "there is no task %lld in %s", (long long)live->task,
                           tsk_store_name(store));
    return tsk_store_run(store, get_steps, &task, 1, on_step, live, err) < 0 ||
                   tsk_store_run(store, get_edges, &task, 1, on_edge, live, err) < 0
               ? -1
               : 0;
}

static enum tsk_exit draw_task(struct drawing *drawing, const struct tsk_conf *conf, int64_t task)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct live live = {drawing, task, false};
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store)
        return diag_no_store(&err);
    tsk_store_set_use(store, TSK_STORE_LOOK);
    /* once: what is printed cannot be taken back */
    enum tsk_exit status =
        tsk_store_read(store, read_task, &live, 0, &err) < 0 ? diag_err(&err) : TSK_OK;
    if (live.found)
        end(drawing);
    tsk_store_free(store);
    return status;
}

enum tsk_exit draw_run(const struct options *opts, const struct tsk_conf *conf)
{
    struct drawing drawing = {.mermaid = opts->mermaid};
    struct templates templates;
    struct tsk_err err = TSK_ERR_INIT;
    enum tsk_exit status = TSK_OK;
    if (opts->task)
        return draw_task(&drawing, conf, opts->task);
    templates_init(&templates, opts, conf);
    const struct tsk_template *template =
        templates_get(&templates, opts->namespace_name, opts->template, opts->version, &err);
    if (template)
        draw_template(&drawing, template);
    else
        status = diag_err(&err);
    templates_fini(&templates);
    return status;
}
