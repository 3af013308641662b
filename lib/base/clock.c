/* Clocks, RFC 3339 and UUIDv7. The calendar arithmetic is done here, in UTC only, since timegm is
 * not in POSIX and mktime asks the local zone. */
#include "tasker/clock.h"

#include <stdbool.h>
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

/* Reads exactly count digits. Returns their number, or -1. */
static int digits(const char **at, int count)
{
    int value = 0;
    for (; count > 0; count--, ++*at) {
        if (**at < '0' || **at > '9')
            return -1;
        value = value * 10 + **at - '0';
    }
    return value;
}

/* Reads ".123" (any number of digits) as milliseconds. Returns -1 if there is a point alone. */
static int64_t read_fraction(const char **at)
{
    int64_t ms = 0, unit = 100;
    if (**at != '.')
        return 0;
    ++*at;
    if (**at < '0' || **at > '9')
        return -1;
    for (; **at >= '0' && **at <= '9'; ++*at, unit /= 10)
        ms += (**at - '0') * unit;
    return ms;
}

/* Reads "Z" or "+hh:mm" into minutes. */
static bool read_zone(const char **at, int *offset)
{
    char sign = **at;
    *offset = 0;
    if (sign)
        ++*at;
    if (sign == 'Z' || sign == 'z')
        return true;
    int hours = sign == '+' || sign == '-' ? digits(at, 2) : -1;
    if (hours < 0 || hours > 23 || *(*at)++ != ':')
        return false;
    int minutes = digits(at, 2);
    *offset = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
    return minutes >= 0 && minutes < 60;
}

const char *tsk_date_read(const char *text, int64_t *days)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = digits(&text, 4);
    if (year < 0 || *text++ != '-')
        return NULL;
    int month = digits(&text, 2);
    if (month < 1 || month > 12 || *text++ != '-')
        return NULL;
    int day = digits(&text, 2);
    bool leap = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day < 1 || day > lengths[month - 1] + leap)
        return NULL;
    *days = days_since_epoch(year, month, day);
    return text;
}

const char *tsk_daytime_read(const char *text, int64_t *ms)
{
    int offset;
    int hour = digits(&text, 2);
    if (hour < 0 || hour > 23 || *text++ != ':')
        return NULL;
    int minute = digits(&text, 2);
    if (minute < 0 || minute > 59 || *text++ != ':')
        return NULL;
    int second = digits(&text, 2);
    int64_t fraction = second < 0 || second > 60 ? -1 : read_fraction(&text);
    if (fraction < 0 || !read_zone(&text, &offset))
        return NULL;
    int since = (hour * 60 + minute - offset) * 60 + second; /* midnight UTC */
    if (second == 60 && since % 86400 != 0)
        return NULL;
    *ms = (int64_t)since * 1000 + fraction;
    return text;
}

int tsk_time_parse(const char *text, int64_t *wall_ms)
{
    int64_t days, ms;
    text = tsk_date_read(text, &days);
    if (!text || !*text || !strchr("Tt ", *text) || !(text = tsk_daytime_read(text + 1, &ms)) ||
        *text)
        return -1;
    *wall_ms = days * 86400000 + ms;
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

bool tsk_limit_over(int64_t deadline, int64_t now, int64_t *look_at)
{
    enum { LATE_MS = 50 };
    if (deadline < 0 || now < deadline) {
        *look_at = 0;
        return false;
    }
    if (!*look_at)
        *look_at = now + LATE_MS;
    return now >= *look_at;
}

int64_t tsk_limit_next(int64_t deadline, int64_t look_at)
{
    return deadline >= 0 && look_at > deadline ? look_at : deadline;
}
