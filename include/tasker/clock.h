/* Time and identity: two clocks, RFC 3339 text, durations, UUIDs. */
#ifndef TASKER_CLOCK_H
#define TASKER_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The monotonic clock, for deadlines and durations. */
int64_t tsk_now_ms(void);
int64_t tsk_now_us(void);

/* The calendar, in milliseconds since 1970 UTC. */
int64_t tsk_wall_ms(void);

#define TSK_TIME_SIZE 32

/* Writes wall_ms as "2026-01-24T12:00:00.123Z" into out. */
void tsk_time_format(int64_t wall_ms, char out[TSK_TIME_SIZE]);

/* Reads RFC 3339 (fraction optional; Z or +hh:mm). Returns 0 and the milliseconds, or -1 if it is
 * no such text or the date does not exist. Second 60 is only read as the leap second at 23:59:60
 * UTC, which is the same as the midnight after it. */
int tsk_time_parse(const char *text, int64_t *wall_ms);

/* Read its two parts: a date as days since 1970, a time as milliseconds since midnight UTC. Return
 * what follows, or NULL. */
const char *tsk_date_read(const char *text, int64_t *days);
const char *tsk_daytime_read(const char *text, int64_t *ms);

#define TSK_UUID_SIZE 37

/* Writes a new UUIDv7 (time-ordered, RFC 9562) into out. */
void tsk_uuid(char out[TSK_UUID_SIZE]);

/* Milliseconds left until deadline (a tsk_now_ms value), at least 0; -1 for a deadline of -1,
 * which means "never". Fits poll(2). */
int tsk_left_ms(int64_t deadline);

/* The earlier of two deadlines, where -1 is never. */
int64_t tsk_earlier(int64_t a, int64_t b);

/* Whether a limit is over. A process that was stopped, or slept with its machine, finds a limit
 * passed before its threads have brought what came in time. So a limit is over only some time
 * after it was first seen to be passed. *look_at belongs to the limit and begins with 0. */
bool tsk_limit_over(int64_t deadline, int64_t now, int64_t *look_at);

/* Returns when tsk_limit_over is to be asked next; -1: never. */
int64_t tsk_limit_next(int64_t deadline, int64_t look_at);

#ifdef __cplusplus
}
#endif

#endif
