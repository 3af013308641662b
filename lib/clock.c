/* Clocks, RFC 3339 and UUIDv7. The calendar arithmetic is done here, in UTC only, since timegm is
 * not in POSIX and mktime asks the local zone. */
#include "tasker/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t tsk_now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t tsk_now_ms(void)
{
    return tsk_now_us() / 1000;
}

int64_t tsk_wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

static size_t format_second(time_t second, char out[TSK_TIME_SIZE])
{
    struct tm tm;
    if (!gmtime_r(&second, &tm) || tm.tm_year > 8099)
        memset(&tm, 0, sizeof tm);
    return strftime(out, TSK_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
}

void tsk_time_format(int64_t wall_ms, char out[TSK_TIME_SIZE])
{
    static _Thread_local struct {
        int64_t second;
        size_t len; /* 0: none was written yet */
        char text[TSK_TIME_SIZE];
    } last; /* most times are of the same second as the one before */
    int64_t ms = wall_ms % 1000 < 0 ? wall_ms % 1000 + 1000 : wall_ms % 1000;
    int64_t second = (wall_ms - ms) / 1000;
    if (!last.len || last.second != second) {
        last.second = second;
        last.len = format_second((time_t)second, last.text);
    }
    memcpy(out, last.text, last.len);
    char digits[] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                     (char)('0' + ms % 10), 'Z', '\0'};
    memcpy(out + last.len, digits, sizeof digits);
}

/* Days from 1970-01-01 to a day of the Gregorian calendar. */
static int64_t days_since_epoch(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2; /* the year begins in March, so that the leap day is its last */
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Reads ".123" (any number of digits) as milliseconds and moves on. */
static int64_t read_fraction(const char **text)
{
    int64_t ms = 0, unit = 100;
    if (**text != '.')
        return 0;
    for ((*text)++; **text >= '0' && **text <= '9'; (*text)++, unit /= 10)
        ms += (**text - '0') * unit;
    return ms;
}

/* Reads "Z" or "+hh:mm" up to the end. Returns 0 and the offset in ms, or -1. */
static int read_zone(const char *text, int64_t *offset)
{
    unsigned hours, minutes;
    int used = 0;
    *offset = 0;
    if (!strcmp(text, "Z") || !strcmp(text, "z"))
        return 0;
    if ((*text != '+' && *text != '-') || strlen(text) != 6 ||
        sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) != 2 || used != 5)
        return -1;
    *offset = (int64_t)(hours * 60 + minutes) * 60000 * (*text == '-' ? -1 : 1);
    return 0;
}

int tsk_time_parse(const char *text, int64_t *wall_ms)
{
    unsigned year, month, day, hour, minute, second;
    int used = 0;
    if (sscanf(text, "%4u-%2u-%2u%*1[Tt ]%2u:%2u:%2u%n", &year, &month, &day, &hour, &minute,
               &second, &used) != 6 ||
        used != 19 || !month || month > 12 || !day || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return -1;
    text += used;
    int64_t fraction = read_fraction(&text), offset;
    if (read_zone(text, &offset) < 0)
        return -1;
    int64_t seconds =
        days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *wall_ms = seconds * 1000 + fraction - offset;
    return 0;
}

/* Fills out with random bytes; the clock and the address serve where there is no /dev/urandom. */
static void random_bytes(unsigned char *out, size_t len)
{
    FILE *file = fopen("/dev/urandom", "re");
    if (file) {
        setvbuf(file, NULL, _IONBF, 0);
        size_t got = fread(out, 1, len, file);
        fclose(file);
        if (got == len)
            return;
    }
    uint64_t state = (uint64_t)tsk_now_us() ^ (uint64_t)(uintptr_t)out;
    for (size_t i = 0; i < len; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (unsigned char)(state >> 56);
    }
}

void tsk_uuid(char out[TSK_UUID_SIZE])
{
    unsigned char b[16];
    random_bytes(b, sizeof b);
    uint64_t ms = (uint64_t)tsk_wall_ms();
    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0F));
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3F));
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        to += sprintf(to, "%02x", b[i]);
    }
}

int tsk_left_ms(int64_t deadline)
{
    if (deadline < 0)
        return -1;
    int64_t left = deadline - tsk_now_ms();
    return left < 0 ? 0 : left > 86400000 ? 86400000 : (int)left;
}

int64_t tsk_earlier(int64_t a, int64_t b)
{
    if (a < 0)
        return b;
    return b < 0 || a < b ? a : b;
}
