/* The results that a worker would send: for each batch of STEPS steps the start and the end of
 * each, then its completion. Both the sender with an outbox and the bare one send these. */
#ifndef TESTS_BENCH_RESULT_LINE_H
#define TESTS_BENCH_RESULT_LINE_H

#include <stddef.h>
#include <stdio.h>

enum { RESULT_LINE_SIZE = 1024, RESULT_STEPS = 50, RESULT_BATCH = 2 * RESULT_STEPS + 1 };

static inline const char *result_line_topic(long offset)
{
    return offset % RESULT_BATCH ? "partial_result" : "batch_completion";
}

/* Writes the one with this offset, from 1. Returns its length. */
static inline size_t result_line(char out[RESULT_LINE_SIZE], const char *source, long offset)
{
    long batch = (offset - 1) / RESULT_BATCH, place = (offset - 1) % RESULT_BATCH;
    int ended = (int)(place % 2), len;
    if (place == RESULT_BATCH - 1)
        len = snprintf(out, RESULT_LINE_SIZE,
                       "{\"message_type\":\"batch_completion\",\"batch_id\":\"%s.%ld\","
                       "\"protocol_version\":\"2.0\",\"worker_id\":\"vm-2683\",\"total_steps\":%d,"
                       "\"completed_steps\":%d,\"failed_steps\":0,\"in_progress_steps\":0,"
                       "\"step_summaries\":[],\"total_execution_time_ms\":200,\"completed_at\":"
                       "\"2026-11-23T12:00:00.000Z\",\"source\":\"%s\",\"offset\":%ld}",
                       source, batch, RESULT_STEPS, RESULT_STEPS, source, offset);
    else
        len = snprintf(out, RESULT_LINE_SIZE,
                       "{\"message_type\":\"partial_result\",\"batch_id\":\"%s.%ld\","
                       "\"step_id\":%ld,\"task_id\":%ld,\"step_name\":\"validate_order\","
                       "\"attempt\":1,\"status\":\"%s\",\"output\":%s,\"error\":null,"
                       "\"retryable\":false,\"execution_time_ms\":%d,\"worker_id\":\"vm-2683\","
                       "\"sequence\":%d,\"timestamp\":\"2026-11-23T12:00:00.000Z\","
                       "\"execution_metadata\":{\"handler_class\":\"Order::Validate\","
                       "\"timeout_ms\":30000,\"retry_limit\":3,\"handler_config\":{},"
                       "\"started_at\":\"2026-11-23T12:00:00.000Z\"},"
                       "\"source\":\"%s\",\"offset\":%ld}",
                       source, batch, offset, batch + 1, ended ? "completed" : "in_progress",
                       ended ? "{\"valid\":true,\"total\":12.5}" : "null", ended ? 4 : 0, ended + 1,
                       source, offset);
    return (size_t)len;
}

#endif
