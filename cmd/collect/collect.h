/* What the parts of tasker-collect share. */
#ifndef COLLECT_COLLECT_H
#define COLLECT_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collect/batches.h"
#include "collect/endpoints.h"
#include "collect/held.h"
#include "common/opt.h"
#include "tasker/bus.h"
#include "tasker/conf.h"
#include "tasker/json.h"
#include "collect/ledger.h"
#include "tasker/line.h"
#include "tasker/map.h"
#include "tasker/os.h"
#include "collect/stream.h"

struct options {
    bool all, follow, status, strict, tap;
    int text;                        /* --format: 0 json, 1 text */
    struct opt_list topics, batches; /* --topic, --batch; empty: all */
    int64_t count;                   /* 0: not given */
    int64_t timeout;                 /* ms; -1: not given */
    const char *id;
};

/* Warnings of a kind that a hostile or broken peer can cause without end. */
struct complaints {
    int64_t window, told; /* the second this is, and how many were told in it */
    int64_t hidden;       /* not told since the last that was */
    int64_t total;
};

struct collect {
    const struct options *opts;
    char id[TSK_ID_SIZE];
    struct tsk_bus *bus;
    struct tsk_poller *poller;
    struct tsk_lines *lines;
    struct tsk_json *parser;
    struct tsk_stream *stream;
    struct batches *batches;
    struct lost *lost;
    struct held *held;
    struct tsk_ledger *ledger; /* NULL: there is no store */
    struct endpoints *endpoints;
    struct tsk_map *skews;     /* see skew.h */
    bool namesake;             /* another collector has the same id, which was told */
    bool asked_known;          /* whether the store knows the batches of receipts */
    int input_fd;              /* as registered with the poller, or -1 */
    bool input_end;
    int64_t unpublished; /* batches and steps on the input, which nobody has published */
    bool everything;  /* batches without a receipt are printed as well */
    int64_t silence;  /* ms; -1: no limit */
    int64_t patience; /* ms that the store has at the end */
    int64_t now;      /* of this round */
    int64_t limit_at; /* for tsk_limit_over, of the next limit */
    int64_t asked;    /* how long it was to sleep before this round */
    int64_t started;  /* when it began, and when anything was last heard */
    int64_t heard_at;
    int64_t saved_at; /* when was last flushed and confirmed */
    int64_t unsaved;  /* messages of streams that came since */
    int64_t printed;  /* result lines */
    struct complaints unreadable;
    struct tsk_map *told;       /* what each source is known to have been told; see farewell.c */
    int64_t linger;             /* ms, the time for that at the end */
    int64_t silent_most;        /* ms, after which a worker is not waited for there */
    char farewell[TSK_ID_SIZE]; /* topic of the latest question; "" before the end */
    char inquiry[TSK_ID_SIZE]; /* topic of the latest; "" before the first */
    int64_t inquired_at;
    bool inquire;                    /* a worker seems to have nothing more of an open batch */
    bool stop;                       /* a signal came */
    bool gave_up;                    /* some batch was not complete in time */
    bool refused;                    /* the store cannot be used, and never could be */
    bool refusing;                   /* too much waits for it: who can send again has to */
    int64_t full_since, unread_most; /* see keep_waits; ms */
    int64_t dropped;                 /* messages of no stream that came when too much waited */
    bool failing;                    /* it cannot be used now, which was told */
    bool timed_out;                  /* the whole was not: with --count, or without any receipt */
    enum tsk_exit status;
};

/* receive.c: takes at most most frames off the bus. Returns how many there were. */
size_t receive(struct collect *c, size_t most);

/* input.c: handles the lines that are there; reads more if it need not wait for it. Returns
 * whether there is more at hand. */
bool input_pump(struct collect *c);
void input_ready(struct collect *c); /* the poller says that the input can be read */
/* Tells what is wrong with a line of it; the status to end with is kind, or worse. */
void input_bad(struct collect *c, const struct tsk_line *line, const char *reason,
               enum tsk_exit kind);

/* inquiry.c: takes note of the worker_status of a source that came on topic; and asks, if one that
 * came before makes that necessary. */
void inquiry_status(struct collect *c, const char *source, const char *topic,
                    struct json_object *message);
void inquiry_send(struct collect *c);

/* farewell.c: takes note of a worker_status, and of a confirmation that is sent; and waits at the
 * end, for at most zeromq.linger, until all workers that answer have the last confirmation. */
void farewell_status(struct collect *c, const char *source, struct json_object *message,
                     bool stopped);
void farewell_confirmed(struct collect *c, const char *source, int64_t offset);
void farewell(struct collect *c);

/* loop.c: confirms a source up to an offset. */
void collect_confirm(struct collect *c, const struct tsk_stream_order *order);

/* report.c: prints and tells of a batch that is given up (and returns true), and of those not
 * complete. */
bool report_due(void *ctx, const struct batch *batch, enum batch_due why);
void report_open(struct collect *c);
void report_lost(const char *source, int64_t lost);
void report_unreadable(struct collect *c, const struct tsk_frame *frame, const char *reason);
void report_summary(struct collect *c);

/* Whether all that was to be waited for has come. */
bool collect_done(const struct collect *c);

/* Prints a result, or holds it if no receipt of its batch is there; source and offset as held_add
 * has them. */
void collect_result(struct collect *c, const struct result *result, const char *data, size_t len,
                    const char *source, int64_t offset);

/* Prints one result line and takes note of it. */
void collect_print(struct collect *c, const struct result *result, const char *data, size_t len);

/* setup.c. Opens all that c needs for opts and conf, reading operands. Returns 0, or -1. Both ways
 * collect_close is to be called. */
int collect_open(struct collect *c, const struct options *opts, const struct tsk_conf *conf,
                 char *const *operands, size_t count, struct tsk_err *err);
void collect_close(struct collect *c);

/* loop.c: goes on until all is done or a signal came. Returns the status to end with. */
enum tsk_exit collect_run(struct collect *c);

#endif
