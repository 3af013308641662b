/* parse_loop <LINES: the bare limit of all that reads JSON lines by json-c. Reads each line, parses
 * it with one tokener that is used again and again, lets go of the value, and prints
 *
 *     lines=COUNT seconds=S rate=LINES_A_SECOND */
#include <json-c/json.h>
#include <string.h>

#include "bench.h"

int main(void)
{
    struct json_tokener *tokener = json_tokener_new();
    char *line = NULL;
    size_t size = 0;
    long count = 0;
    int64_t begin = bench_now();
    for (ssize_t len; (len = getline(&line, &size, stdin)) > 0; count++) {
        json_tokener_reset(tokener);
        struct json_object *value = json_tokener_parse_ex(tokener, line, (int)len);
        if (!value)
            bench_die("line %ld: %s", count + 1,
                      json_tokener_error_desc(json_tokener_get_error(tokener)));
        json_object_put(value);
    }
    double seconds = bench_seconds(bench_now() - begin);
    printf("lines=%ld seconds=%.6f rate=%.1f\n", count, seconds, (double)count / seconds);
    json_tokener_free(tokener);
    free(line);
    return 0;
}
