/* Linux: the poller on epoll. What epoll refuses (regular files, /dev/null) can always be read and
 * written. Such descriptors stand in a list of their own, and one eventfd that is always readable
 * stands for all of them among the others: so the kernel keeps them from starving each other. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/os.h"

enum { WAIT_MAX = 64 }; /* events taken from the kernel at a time */

struct entry {
    void *tag;
    int events;
    bool always; /* in the list of those always ready */
};

struct tsk_poller {
    int epoll, always_fd;
    struct entry *entries; /* by descriptor */
    size_t cap;
    int *always;
    size_t always_count, always_cap, always_next;
};

struct tsk_poller *tsk_poller_new(void)
{
    struct tsk_poller *poller = tsk_alloc(sizeof *poller);
    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    poller->always_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (poller->epoll < 0 || poller->always_fd < 0) {
        int code = errno;
        tsk_poller_free(poller);
        errno = code;
        return NULL;
    }
    return poller;
}

void tsk_poller_free(struct tsk_poller *poller)
{
    if (!poller)
        return;
    if (poller->epoll >= 0)
        close(poller->epoll);
    if (poller->always_fd >= 0)
        close(poller->always_fd);
    free(poller->entries);
    free(poller->always);
    free(poller);
}

/* Adds or changes fd in the kernel's set. Returns 0 or -1. */
static int control(struct tsk_poller *poller, int fd, int events, bool known)
{
    struct epoll_event event = {.data.fd = fd};
    if (events & TSK_READ)
        event.events |= EPOLLIN;
    if (events & TSK_WRITE)
        event.events |= EPOLLOUT;
    int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(poller->epoll, op, fd, &event) == 0)
        return 0;
    /* closed and opened again behind our back */
    if (errno != ENOENT && errno != EEXIST)
        return -1;
    op = known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    return epoll_ctl(poller->epoll, op, fd, &event);
}

static void always_add(struct tsk_poller *poller, int fd)
{
    poller->always =
        tsk_grow(poller->always, &poller->always_cap, poller->always_count + 1, sizeof(int));
    poller->always[poller->always_count++] = fd;
    poller->entries[fd].always = true;
    if (poller->always_count == 1)
        control(poller, poller->always_fd, TSK_READ, false);
}

static void always_remove(struct tsk_poller *poller, int fd)
{
    size_t i = 0;
    while (poller->always[i] != fd)
        i++;
    poller->always[i] = poller->always[--poller->always_count];
    poller->entries[fd].always = false;
    if (poller->always_count == 0)
        epoll_ctl(poller->epoll, EPOLL_CTL_DEL, poller->always_fd, NULL);
}

void tsk_poller_set(struct tsk_poller *poller, int fd, int events, void *tag)
{
    if (fd < 0)
        return;
    poller->entries = tsk_grow(poller->entries, &poller->cap, (size_t)fd + 1, sizeof(struct entry));
    struct entry *entry = &poller->entries[fd];
    int before = entry->events;
    entry->tag = tag;
    entry->events = events;
    if (events == before)
        return;
    if (events == 0 && entry->always)
        always_remove(poller, fd);
    else if (events == 0)
        epoll_ctl(poller->epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (!entry->always && control(poller, fd, events, before != 0) != 0)
        always_add(poller, fd); /* no waiting for it: the next read or write tells what is wrong */
}

/* The next of those that are always ready, in turn. */
static int always_turn(struct tsk_poller *poller)
{
    return poller->always[poller->always_next++ % poller->always_count];
}

/* What of the events asked for has happened. An error wakes reader and writer alike. */
static int happened(const struct entry *entry, uint32_t events)
{
    int seen = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        seen |= TSK_READ;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        seen |= TSK_WRITE;
    return seen & entry->events;
}

size_t tsk_poller_wait(struct tsk_poller *poller, int timeout, struct tsk_event *events, size_t max)
{
    struct epoll_event found[WAIT_MAX];
    int n = epoll_wait(poller->epoll, found, max < WAIT_MAX ? (int)max : WAIT_MAX, timeout);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        bool always = found[i].data.fd == poller->always_fd;
        struct entry *entry = &poller->entries[always ? always_turn(poller) : found[i].data.fd];
        int seen = always ? entry->events : happened(entry, found[i].events);
        if (seen)
            events[count++] = (struct tsk_event){entry->tag, seen};
    }
    return count;
}
