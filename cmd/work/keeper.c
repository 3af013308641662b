/* The keeper: a small process beside the worker that outlives it by a moment. It sleeps in a read
 * from a pipe that only the worker holds open; when that ends, however the worker died, it kills
 * the process groups that stand in a table shared with the worker, and then every process that
 * carries the worker's mark in its environment (a handler's child that went into a session of its
 * own). Keeping the table costs the worker one store in memory a step. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work/work.h"

struct keeper {
    pid_t pid;
    int life, alive;        /* the worker's end of each pipe */
    volatile pid_t *groups; /* shared; 0 is a free slot */
    size_t *free_slots, free_count, slots;
};

static void end_all(volatile pid_t *groups, size_t slots, const char *mark)
{
    for (size_t i = 0; i < slots; i++) {
        if (groups[i] > 1)
            kill(-groups[i], SIGKILL);
    }
    tsk_os_kill_marked(mark);
}

/* The keeper's whole life. fds: the read end of life, the write end of alive. */
static _Noreturn void keep(const struct keeper *keeper, int life, int alive, const char *mark)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP};
    char byte;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    tsk_os_set_name("tasker-keeper");
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    while (read(life, &byte, 1) > 0 || errno == EINTR)
        errno = 0;
    end_all(keeper->groups, keeper->slots, mark);
    close(alive);
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

static void set_cloexec(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

struct keeper *keeper_start(size_t slots, const char *mark, struct tsk_err *err)
{
    int life[2], alive[2];
    struct keeper *keeper = tsk_alloc(sizeof *keeper);
    keeper->slots = slots;
    keeper->groups = shared_table(slots * sizeof *keeper->groups, err);
    if (!keeper->groups) {
        free(keeper);
        return NULL;
    }
    if (pipe(life) < 0 || pipe(alive) < 0 || (keeper->pid = fork()) < 0) {
        tsk_err_sys(err, TSK_UNAVAILABLE, "cannot start the keeper");
        free(keeper); /* the program ends now, and with it the rest */
        return NULL;
    }
    if (!keeper->pid) {
        close(life[1]);
        close(alive[0]);
        keep(keeper, life[0], alive[1], mark);
    }
    close(life[0]);
    close(alive[1]);
    set_cloexec(keeper->life = life[1]);
    set_cloexec(keeper->alive = alive[0]);
    keeper->free_slots = tsk_alloc(slots * sizeof *keeper->free_slots);
    for (keeper->free_count = 0; keeper->free_count < slots; keeper->free_count++)
        keeper->free_slots[keeper->free_count] = keeper->free_count;
    return keeper;
}

int keeper_fd(const struct keeper *keeper)
{
    return keeper->alive;
}

void keeper_gone(struct keeper *keeper)
{
    keeper->pid = 0;
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

void keeper_set(struct keeper *keeper, size_t slot, pid_t group)
{
    if (slot < keeper->slots)
        keeper->groups[slot] = group;
}

void keeper_remove(struct keeper *keeper, size_t slot)
{
    if (slot >= keeper->slots)
        return;
    keeper->groups[slot] = 0;
    keeper->free_slots[keeper->free_count++] = slot;
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper)
        return;
    close(keeper->life);
    if (keeper->pid > 0) {
        kill(keeper->pid, SIGCONT); /* a stopped one would never see it */
        while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(keeper->alive);
    munmap((void *)keeper->groups, keeper->slots * sizeof *keeper->groups);
    free(keeper->free_slots);
    free(keeper);
}
