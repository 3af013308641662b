/* What the operating system is asked beyond POSIX, in one place: os_linux*.c has the best way,
 * os_posix.c a fallback that works anywhere (make OS=posix builds it on Linux too). */
#ifndef TASKER_OS_H
#define TASKER_OS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "tasker/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Waiting for many descriptors. A regular file counts as always ready. */
struct tsk_poller;
enum { TSK_READ = 1, TSK_WRITE = 2 };
struct tsk_event {
    void *tag;  /* what was registered */
    int events; /* TSK_READ (also at end of file and error), TSK_WRITE */
};
/* Returns a new poller, or NULL with errno. */
struct tsk_poller *tsk_poller_new(void);
void tsk_poller_free(struct tsk_poller *poller); /* NULL is fine */

/* Registers fd for events (0 takes it off; do so before closing it) with tag. */
void tsk_poller_set(struct tsk_poller *poller, int fd, int events, void *tag);

/* Waits at most timeout ms (-1: for ever). Returns how many events were written, 0 after the time
 * or a signal. What was written is not withdrawn when a descriptor is taken off while the events
 * are worked through. */
size_t tsk_poller_wait(struct tsk_poller *poller, int timeout, struct tsk_event *events,
                       size_t max);

/* A new program to start. All fields are borrowed. */
struct tsk_spawn {
    char *const *argv; /* argv[0] is the path, relative to dir; without a slash it is looked up in
                        * the PATH of the caller */
    char *const *envp;
    const char *dir;         /* working directory, or NULL */
    int fds[4];              /* become 0 to 3; -1: closed */
    const sigset_t *changed; /* the signals to be reset (see below); NULL: all */
    const char *path;        /* as tsk_os_find found it; NULL: it is looked for */
    bool outlives;           /* it is not killed when the thread that started it dies */
    const struct rlimit *files; /* its limit on descriptors; NULL: as of this process */
    bool session;            /* it gets a session of its own, else a process group only */
    bool crowded;            /* so many descriptors are open that copying them for each child would
                              * be dear; a hint, of use where those in fds are low ones */
};

/* Writes into path what is to be executed for spawn->argv[0] (looked up in PATH if it has no
 * slash), as seen from spawn->dir. Returns 0, or -1 with ENOENT, EACCES or ENAMETOOLONG. */
int tsk_os_find(const struct tsk_spawn *spawn, char *path, size_t size);

/* Whether this process has a controlling terminal. */
bool tsk_os_has_terminal(void);

/* Tries whether so many descriptors can be opened now, and so many threads be started. Raises the
 * soft limit on descriptors where that is too low. Returns 0, or -1 with TSK_UNAVAILABLE and the
 * numbers. */
int tsk_os_room(size_t descriptors, size_t threads, struct tsk_err *err);

/* Closes all descriptors from low on. */
void tsk_os_close_from(int low);

/* Makes a pipe that exec closes. Returns 0, or -1 with errno. */
int tsk_os_pipe(int ends[2]);

/* Fills set with the signals that this process ignores or catches. Asked once, it saves each
 * tsk_os_spawn the resetting of all that there are. */
void tsk_os_signals_changed(sigset_t *set);

/* Starts it as the leader of a process group, signals reset, all other descriptors closed. Where
 * the system can, it adopts the orphans among its descendants, and is killed (unless it outlives)
 * when the thread that called this dies. Returns the pid, or -1 with errno as fork or exec left it.
 */
pid_t tsk_os_spawn(const struct tsk_spawn *spawn);

/* Returns a descriptor from which data can be read, from its start, without anybody writing; or -1
 * with errno. */
int tsk_os_memory_file(const void *data, size_t len);

/* Makes orphans below this process its children, so that they can be found and ended. Returns
 * false where the system cannot. */
bool tsk_os_adopt_orphans(void);

/* Lists the processes that this process adopted, and all that its main thread started. Returns how
 * many; *pids (grown by tsk_grow, *cap) has them. 0 where the system cannot tell. */
size_t tsk_os_adopted(pid_t **pids, size_t *cap);

/* Sends sig to a process, to its group if it leads one, and (where the system can tell) to all its
 * descendants, once each. Before SIGKILL all are stopped, so that none escapes by a fork. The
 * process must not be waited for meanwhile. */
void tsk_os_signal_tree(pid_t root, int sig);

/* Writes the name of a process to name. Returns false where the system cannot tell. */
bool tsk_os_process_name(pid_t pid, char *name, size_t size);

/* Ends (SIGKILL) all children of this process but spare (0: none). Returns how many were seen, also
 * dead ones that were not waited for; 0 where the system cannot tell. */
int tsk_os_kill_children(pid_t spare);

/* Ends (SIGKILL) every other process whose environment has the entry mark ("NAME=value"), looking
 * until there is none, at most some seconds. Returns how many were seen; 0 where the system cannot
 * tell. */
int tsk_os_kill_marked(const char *mark);

/* Waits, without blocking, for any child. As wait4(-1, status, WNOHANG, usage). */
pid_t tsk_os_reap(int *status, struct rusage *usage);

/* Sets the name (15 characters) and, in place of all arguments, the command line that ps and pkill
 * see of this process. The arguments of main are overwritten. */
void tsk_os_set_name(const char *name);

/* Whether the name of the calling thread begins so; true where the system does not tell. May be
 * called in a signal handler. */
bool tsk_os_thread_named(const char *beginning);

/* Returns a new descriptor that can be read when a file of a folder is written, made or removed; or
 * -1 with errno (ENOSYS where the system cannot). tsk_os_watch_read takes what it has told since
 * the last time, and returns whether any of it was of a file whose name begins with prefix. */
int tsk_os_watch(const char *folder);
bool tsk_os_watch_read(int fd, const char *prefix);

/* Tells who listens on a local TCP port as "NAME (pid N)" or "NAME (pid N, stopped)" in
 * out. Returns false if unknown. */
bool tsk_os_port_holder(int port, char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
