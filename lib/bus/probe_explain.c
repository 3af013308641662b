/* Why a handshake failed, found out by reading what the peer says to a plain connection.
 *
 * libzmq tells only that a handshake failed, and of a peer that is no ZMTP peer at all often
 * nothing (it takes the first byte of "HTTP/1.1 400" for the length of a ZMTP 1.0 frame and waits).
 * A ZMTP 3 peer opens with a greeting of 64 bytes that names its security mechanism, then a READY
 * command that names its socket type; both come without our saying more than our own greeting.
 * Anything else is shown by its first line. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tasker/clock.h"

#include "bus/probe_private.h"

#define GREETING 64
#define SIGNATURE 10
#define MECHANISM 12 /* its place in the greeting, 20 bytes */

struct talk {
    unsigned char data[512];
    size_t len;
    bool closed;
};

/* Sends bytes from to to of a ZMTP 3.0 greeting with mechanism NULL. The first part makes the peer
 * send all of its own; a peer of another mechanism hangs up at the second, with its own perhaps
 * unsent. A peer that is gone is seen when reading. */
static void send_greeting(int fd, size_t from, size_t to)
{
    unsigned char greeting[GREETING] = {0xFF};
    greeting[9] = 0x7F;
    greeting[10] = 3;
    memcpy(greeting + MECHANISM, "NULL", 4);
    (void)!send(fd, greeting + from, to - from, MSG_NOSIGNAL);
}

/* Whether enough has come to tell what the peer is. */
static bool told_enough(const struct talk *talk)
{
    if (talk->len == sizeof talk->data)
        return true;
    if (talk->len && talk->data[0] != 0xFF)
        return memchr(talk->data, '\n', talk->len) != NULL;
    if (talk->len > SIGNATURE && talk->data[SIGNATURE] < 3)
        return true;
    if (talk->len >= MECHANISM + 4 && memcmp(talk->data + MECHANISM, "NULL", 4))
        return talk->len >= MECHANISM + 20;
    return talk->len >= GREETING + 2 && talk->len >= GREETING + 2u + talk->data[GREETING + 1];
}

/* Greets and reads until that is so, the peer closes, or the time is over. */
static void hold_talk(int fd, struct talk *talk, int64_t deadline)
{
    size_t sent = MECHANISM;
    send_greeting(fd, 0, sent);
    while (!told_enough(talk) && !talk->closed) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int rc = poll(&wait, 1, tsk_left_ms(deadline));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return;
        ssize_t n = recv(fd, talk->data + talk->len, sizeof talk->data - talk->len, 0);
        if (n > 0)
            talk->len += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            talk->closed = true;
        if (talk->len >= GREETING && sent < GREETING) {
            send_greeting(fd, sent, GREETING);
            sent = GREETING;
        }
    }
}

/* Copies the Socket-Type of a READY command of len bytes. */
static void copy_type(const unsigned char *command, size_t len, char *out, size_t size)
{
    static const char name[] = "Socket-Type";
    const size_t head = sizeof name - 1, skip = head + 4; /* a length of 4 bytes follows */
    for (size_t i = 0; i + skip < len; i++) {
        if (memcmp(command + i, name, head))
            continue;
        size_t n = command[i + skip - 1];
        if (n < size && i + skip + n <= len)
            snprintf(out, size, "%.*s", (int)n, (const char *)command + i + skip);
        return;
    }
}

/* Makes text that came from a peer fit for a terminal. */
static void only_printable(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7E)
            *text = '.';
}

/* Shows the first line of what a foreign peer said. */
static void show_foreign(const struct talk *talk, struct tsk_probe *probe)
{
    char line[64];
    size_t n = 0;
    for (; n < talk->len && n < sizeof line - 1; n++) {
        line[n] = talk->data[n] ? (char)talk->data[n] : '.';
        if (line[n] == '\r' || line[n] == '\n')
            break;
    }
    line[n] = '\0';
    only_printable(line);
    snprintf(probe->reason, sizeof probe->reason, "what answers is not ZeroMQ; it says \"%s\"",
             line);
}

/* What a peer is that sent a ZMTP greeting, whole or in part. */
static void judge_zmtp(const struct talk *talk, struct tsk_probe *probe)
{
    const char *data = (const char *)talk->data;
    char *why = probe->reason;
    size_t size = sizeof probe->reason;
    if (talk->len > SIGNATURE && talk->data[SIGNATURE] < 3)
        snprintf(why, size, "the peer speaks ZMTP %d; 3 is needed", talk->data[SIGNATURE]);
    else if (talk->len >= MECHANISM + 20 && strncmp(data + MECHANISM, "NULL", 20))
        snprintf(why, size, "the peer asks for %.20s security, which tasker does not speak",
                 data + MECHANISM);
    else if (talk->len >= GREETING + 2)
        copy_type(talk->data + GREETING, talk->len - GREETING, probe->peer_type,
                  sizeof probe->peer_type);
    else
        snprintf(why, size, "the peer %s in the middle of the handshake",
                 talk->closed ? "closes the connection (access denied?)" : "stops");
    only_printable(why);
    only_printable(probe->peer_type);
    if (probe->peer_type[0])
        snprintf(why, size, "the peer is a %s socket", probe->peer_type);
}

static void judge(const struct talk *talk, struct tsk_probe *probe)
{
    if (talk->len && (talk->data[0] != 0xFF || (talk->len >= SIGNATURE && !(talk->data[9] & 1)))) {
        probe->state = TSK_PROBE_FOREIGN;
        show_foreign(talk, probe);
    } else if (talk->len) {
        probe->state = TSK_PROBE_HANDSHAKE;
        judge_zmtp(talk, probe);
    } else {
        probe->state = talk->closed ? TSK_PROBE_CLOSED : TSK_PROBE_SILENT;
        snprintf(probe->reason, sizeof probe->reason, "%s",
                 talk->closed ? "it closes the connection at once, without a word"
                              : "it takes the connection and says nothing; ZeroMQ would greet");
    }
}

int tsk_probe_explain(struct tsk_probe *probe, int64_t deadline, struct tsk_err *err)
{
    int fd = tsk_probe_connect(probe->address, deadline, probe, err);
    if (fd < 0)
        return fd == -1 ? 0 : -1;
    struct talk talk = {.len = 0};
    probe->peer_type[0] = probe->reason[0] = '\0';
    hold_talk(fd, &talk, deadline);
    close(fd);
    judge(&talk, probe);
    return 0;
}
