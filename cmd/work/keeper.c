/* The keeper: a small process beside the worker that outlives it by a moment. It sleeps in a read
 * from a pipe that only the worker holds open. When that ends, however the worker died, it kills
 * the processes of a table shared with the worker, and all their descendants: the handlers, and
 * what handlers left that have ended. Then it kills every process that has the worker's mark in its
 * environment: one whose handler ended after the worker did. The table costs the worker one store
 * in memory a step. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/diag.h"
#include "work/work.h"

#define END_MS 2000 /* a process that dies needs less */

struct keeper {
    pid_t pid;
    int life, alive;        /* the worker's end of each pipe */
    char *mark;
    volatile pid_t *table; /* shared: so many slots for handlers, as many for what they left; 0:
                            * free */
    size_t *free_slots, free_count, slots;
};

static void end_all(const struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->slots * 2; i++) {
        pid_t pid = keeper->table[i];
        if (pid <= 1)
            continue;
        tsk_os_signal_tree(pid, SIGKILL);
        kill(-pid, SIGKILL); /* of one that has ended the group is what is known */
    }
    tsk_os_kill_marked(keeper->mark);
}

/* Waits until the worker, which has no descriptors any more, is gone. Before that none of its
 * children must be stopped: as the worker ends the system sends HUP to groups with a stopped
 * process. */
static void await_end(pid_t worker)
{
    for (int ms = 0; ms < END_MS && getppid() == worker; ms++)
        poll(NULL, 0, 1);
}

/* The keeper's whole life. life and alive are its ends of the pipes, which take the place of
 * standard input and output; all other descriptors are closed: a keeper that replaces another one
 * was given the worker's sockets. Its name has nothing of the worker's: who kills all that is
 * called tasker-work kills the worker, and the keeper then ends the handlers. */
static _Noreturn void keep(const struct keeper *keeper, int life, int alive)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP};
    enum { LIFE, ALIVE, OTHERS };
    char byte;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    tsk_os_set_name("work-keeper");
    dup2(life, LIFE);
    dup2(alive, ALIVE);
    tsk_os_close_from(OTHERS);
    pid_t worker = getppid();
    ssize_t n;
    while ((n = read(LIFE, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n == 0)
        await_end(worker);
    end_all(keeper);
    _exit(0);
}

static void *shared_table(size_t size, struct tsk_err *err)
{
    void *zeros = tsk_alloc(size);
    int fd = tsk_os_memory_file(zeros, size);
    free(zeros);
    void *table = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (table == MAP_FAILED)
        tsk_err_sys(err, TSK_UNAVAILABLE, "cannot share memory with the keeper");
    if (fd >= 0)
        close(fd);
    return table == MAP_FAILED ? NULL : table;
}

/* Starts the process, with a pipe that ends with the worker and one that ends with the keeper.
 * Returns 0, or -1 with errno. */
static int start(struct keeper *keeper)
{
    int life[2], alive[2];
    keeper->pid = keeper->life = keeper->alive = -1;
    if (tsk_os_pipe(life) < 0)
        return -1;
    if (tsk_os_pipe(alive) < 0) {
        close(life[0]);
        close(life[1]);
        return -1;
    }
    if (!(keeper->pid = fork()))
        keep(keeper, life[0], alive[1]);
    close(life[0]);
    close(alive[1]);
    keeper->life = life[1];
    keeper->alive = alive[0];
    return keeper->pid < 0 ? -1 : 0;
}

struct keeper *keeper_start(size_t slots, const char *mark, struct tsk_err *err)
{
    struct keeper *keeper = tsk_alloc(sizeof *keeper);
    keeper->slots = slots;
    keeper->mark = tsk_strdup(mark);
    keeper->table = shared_table(2 * slots * sizeof *keeper->table, err);
    if (!keeper->table || start(keeper) < 0) {
        if (keeper->table)
            tsk_err_sys(err, TSK_UNAVAILABLE, "cannot start the keeper");
        free(keeper->mark); /* the program ends now, and with it the rest */
        free(keeper);
        return NULL;
    }
    keeper->free_slots = tsk_alloc(slots * sizeof *keeper->free_slots);
    for (keeper->free_count = 0; keeper->free_count < slots; keeper->free_count++)
        keeper->free_slots[keeper->free_count] = keeper->free_count;
    return keeper;
}

int keeper_restart(struct keeper *keeper)
{
    close(keeper->life);
    close(keeper->alive);
    return start(keeper);
}

int keeper_fd(const struct keeper *keeper)
{
    return keeper->alive;
}

pid_t keeper_pid(const struct keeper *keeper)
{
    return keeper->pid;
}

size_t keeper_take(struct keeper *keeper)
{
    if (!keeper->free_count)
        return keeper->slots; /* no slot: the mark still finds it */
    return keeper->free_slots[--keeper->free_count];
}

void keeper_set(struct keeper *keeper, size_t slot, pid_t pid)
{
    if (slot < keeper->slots)
        keeper->table[slot] = pid;
}

void keeper_set_orphan(struct keeper *keeper, size_t i, pid_t pid)
{
    if (i < keeper->slots)
        keeper->table[keeper->slots + i] = pid;
}

void keeper_remove(struct keeper *keeper, size_t slot)
{
    if (slot >= keeper->slots)
        return;
    keeper->table[slot] = 0;
    keeper->free_slots[keeper->free_count++] = slot;
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper)
        return;
    if (write(keeper->life, "", 1) < 0)
        diag_debug("the keeper is gone");
    close(keeper->life);
    if (keeper->pid > 0) {
        kill(keeper->pid, SIGCONT); /* a stopped one would never see it */
        while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(keeper->alive);
    munmap((void *)keeper->table, 2 * keeper->slots * sizeof *keeper->table);
    free(keeper->free_slots);
    free(keeper->mark);
    free(keeper);
}
