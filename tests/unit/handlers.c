/* The handler registry: what it reads, what it refuses and where, which handler is found; the table
 * of ends; whether a handler can be run. */
#include "work/handlers.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (CHECK(file != NULL)) {
        fputs(text, file);
        fclose(file);
    }
}

static struct tsk_handlers *load(const char *text, struct tsk_err *err)
{
    write_file("registry", text);
    return tsk_handlers_load("registry", NULL, NULL, err);
}

static void test_fields(void)
{
    struct tsk_err err;
    struct tsk_handlers *handlers = load("handlers:\n"
                                         "  A::B: {command: [./a, --x, '', \"b c\"]}\n"
                                         "  Other:\n"
                                         "    command:\n"
                                         "      - /bin/true\n"
                                         "    timeout_ms: 1500\n"
                                         "    mode: exec\n"
                                         "    interface: process\n"
                                         "    retryable: true\n",
                                         &err);
    if (!CHECK(handlers != NULL)) {
        fprintf(stderr, "%s\n", err.text);
        return;
    }
    char here[4096];
    CHECK(getcwd(here, sizeof here) != NULL);
    CHECK_STR(tsk_handlers_dir(handlers), here);
    CHECK_INT(tsk_handlers_count(handlers), 2);
    const struct tsk_handler *a = tsk_handlers_at(handlers, 0), *b = tsk_handlers_at(handlers, 1);
    CHECK_STR(a->pattern, "A::B");
    CHECK_STR(a->argv[0], "./a");
    CHECK_STR(a->argv[1], "--x");
    CHECK_STR(a->argv[2], "");
    CHECK_STR(a->argv[3], "b c");
    CHECK(!a->argv[4]);
    CHECK_INT(a->timeout_ms, 0);
    CHECK(!a->process && !a->retryable);
    CHECK_STR(b->argv[0], "/bin/true");
    CHECK_INT(b->timeout_ms, 1500);
    CHECK(b->process && b->retryable);
    tsk_handlers_free(handlers);
    tsk_handlers_free(NULL);
}

static const char *found(const struct tsk_handlers *handlers, const char *handler_class)
{
    const struct tsk_handler *handler = tsk_handlers_find(handlers, handler_class);
    return handler ? handler->pattern : "none";
}

static void test_find(void)
{
    struct tsk_err err;
    struct tsk_handlers *handlers = load("handlers:\n"
                                         "  \"Text::*\": {command: [a]}\n"
                                         "  Text::Count: {command: [b]}\n"
                                         "  \"Text::C*\": {command: [c]}\n"
                                         "  \"?\": {command: [d]}\n"
                                         "  \"[A-C]x\": {command: [e]}\n"
                                         "  \"lit[\": {command: [f]}\n",
                                         &err);
    if (!CHECK(handlers != NULL))
        return;
    CHECK_STR(found(handlers, "Text::Count"), "Text::Count"); /* exact before any glob */
    CHECK_STR(found(handlers, "Text::Copy"), "Text::*");      /* the first of two globs */
    CHECK_STR(found(handlers, "Text::a/b"), "Text::*");       /* a slash is nothing special */
    CHECK_STR(found(handlers, "Text::*"), "Text::*");
    CHECK_STR(found(handlers, "Z"), "?");
    CHECK_STR(found(handlers, "Bx"), "[A-C]x");
    CHECK_STR(found(handlers, "Dx"), "none");
    CHECK_STR(found(handlers, "lit["), "lit[");
    CHECK_STR(found(handlers, "text::count"), "none");
    CHECK_STR(found(handlers, ""), "none");
    tsk_handlers_free(handlers);
}

static void test_refused(void)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"", "registry: no handlers in it"},
        {"handlers:\n", "registry:"},
        {"handlers: {}\n", "registry: no handlers in it"},
        {"# x\n- a\n", "registry:2: a handler registry must be a mapping"},
        {"handlers: [a]\n", "registry:1: handlers must be a mapping"},
        {"handlres:\n  A: {command: [a]}\n",
         "registry:1: unknown key \"handlres\" (did you mean \"handlers\"?)"},
        {"handlers:\n  A: {comand: [a]}\n",
         "registry:2: unknown key \"comand\" (did you mean \"command\"?)"},
        {"handlers:\n  A: {xyzzy: 1}\n", "registry:2: unknown key \"xyzzy\""},
        {"handlers:\n  A: {command: a b}\n", "registry:2: command must be a list"},
        {"handlers:\n  A: {command: {a: b}}\n", "registry:2: command must be a list"},
        {"handlers:\n  A: {command: []}\n", "registry:2: command is empty"},
        {"handlers:\n  A: {command: [a, [b]]}\n", "registry:2: command must be a list of texts"},
        {"handlers:\n  A: {command: ['']}\n", "registry:2: command must be a list of texts"},
        {"handlers:\n  A: {command: [a], command: [b]}\n", "registry:2: duplicate key"},
        {"handlers:\n  A: {command: [a]}\n  A: {command: [a]}\n", "registry:3: duplicate key"},
        {"handlers:\n  A: {}\n", "registry:2: command is missing"},
        {"handlers:\n  A:\n", "registry:2: a handler must be a mapping"},
        {"handlers:\n  '': {command: [a]}\n", "registry:2: a handler_class is empty"},
        {"handlers:\n  [a]: {command: [a]}\n", "registry:2: a key has to be text"},
        {"handlers:\n  A:\n    command: [a]\n    timeout_ms: 0\n", "registry:4: timeout_ms: "},
        {"handlers:\n  A: {command: [a], timeout_ms: 1e3}\n", "registry:2: timeout_ms: "},
        {"handlers:\n  A: {command: [a], timeout_ms: [1]}\n",
         "registry:2: timeout_ms must be text"},
        {"handlers:\n  A: {command: [a], mode: stream}\n",
         "registry:2: mode \"stream\" is not supported, only exec"},
        {"handlers:\n  A: {command: [a], interface: x}\n",
         "registry:2: \"x\" is neither call nor process"},
        {"handlers:\n  A: {command: [a], retryable: yes}\n",
         "registry:2: \"yes\" is neither false nor true"},
        {"handlers: {A: {command: [a\n", "registry:1: wrong YAML"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tsk_err err = TSK_ERR_INIT;
        struct tsk_handlers *handlers = load(cases[i].text, &err);
        if (!CHECK(!handlers) || !CHECK_INT(err.kind, TSK_CONFIG) ||
            !CHECK(!strncmp(err.text, cases[i].wanted, strlen(cases[i].wanted))))
            fprintf(stderr, "    %s\n    got:  %s\n    want: %s\n", cases[i].text, err.text,
                    cases[i].wanted);
        tsk_handlers_free(handlers);
    }
}

static void test_files(void)
{
    struct tsk_err err;
    CHECK(!tsk_handlers_load("absent", NULL, NULL, &err));
    CHECK_INT(err.kind, TSK_CONFIG);
    CHECK(strstr(err.text, "absent: No such file"));
    CHECK(mkdir("sub", 0755) == 0);
    CHECK(!tsk_handlers_load("sub", NULL, NULL, &err));
    CHECK_INT(err.kind, TSK_CONFIG);
    write_file("sub/registry", "handlers:\n  A: {command: [a]}\n");
    struct tsk_handlers *handlers = tsk_handlers_load("sub/../sub/registry", NULL, NULL, &err);
    if (CHECK(handlers != NULL)) {
        const char *dir = tsk_handlers_dir(handlers);
        CHECK(dir[0] == '/' && !strstr(dir, ".."));
        CHECK(!strcmp(strrchr(dir, '/'), "/sub"));
    }
    tsk_handlers_free(handlers);
}

/* Statuses as wait(2) gives them, made by hand. */
#define EXITED(code) ((code) << 8)
#define SIGNALLED(sig) (sig)

static const char *category(int status, bool retryable)
{
    struct tsk_end end = tsk_end_of(status, retryable);
    static char text[64];
    snprintf(text, sizeof text, "%s %s", end.category ? end.category : "none",
             end.retryable ? "yes" : "no");
    return text;
}

static void test_ends(void)
{
    static const struct {
        const char *wanted;
        int codes[8];
    } rows[] = {
        {"none no", {0, -1}},
        {"validation no", {64, 65, 66, -1}},
        {"infrastructure yes", {68, 69, 71, 74, -1}},
        {"retryable yes", {75, -1}},
        {"permanent no", {77, 78, 126, 127, -1}},
    };
    bool seen[256] = {false};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (const int *code = rows[i].codes; *code >= 0; code++) {
            CHECK_STR(category(EXITED(*code), false), rows[i].wanted);
            CHECK_STR(category(EXITED(*code), true), rows[i].wanted);
            seen[*code] = true;
        }
    }
    for (int code = 0; code < 256; code++) {
        if (seen[code])
            continue;
        CHECK_STR(category(EXITED(code), false), "business_logic no");
        CHECK_STR(category(EXITED(code), true), "business_logic yes");
    }
    CHECK_STR(category(SIGNALLED(SIGKILL), false), "infrastructure yes");
    CHECK_STR(category(SIGNALLED(SIGSEGV) | 0x80, false), "infrastructure yes");
}

static void append(void *ctx, const char *text)
{
    strcat(strcat(ctx, text), "\n");
}

static void test_all_mistakes(void)
{
    struct tsk_err err;
    char told[2048] = "";
    write_file("registry", "handlers:\n  A: {comand: [sh], retryable: maybe}\n  B: [sh]\n"
                           "  C: {command: [no-such-program-here]}\n"
                           "  C: {command: [sh]}\n  D: {command: sh, mode: x}\nmore: 1\n");
    CHECK(!tsk_handlers_load("registry", append, told, &err));
    CHECK_STR(told, "registry:2: unknown key \"comand\" (did you mean \"command\"?)\n"
                    "registry:2: \"maybe\" is neither false nor true\n"
                    "registry:2: command is missing\n"
                    "registry:3: a handler must be a mapping: {command: [program, …]}\n"
                    "registry:5: duplicate key \"C\" (first on line 4)\n"
                    "registry:6: command must be a list: [program, argument, …]; no shell\n"
                    "registry:6: mode \"x\" is not supported, only exec\n"
                    "registry:7: unknown key \"more\"\n"
                    "registry:4: handler C: no-such-program-here: No such file or directory\n");
    CHECK_STR(err.text, "registry: 8 mistakes");
    CHECK_INT(err.kind, TSK_CONFIG);
}

static void test_check(void)
{
    static const char *const wanted[] = {
        NULL,
        "registry:3: handler B: ./no: No such file",
        "registry:4: handler C: ./plain: Permission denied",
        "registry:5: handler D: ./folder: Permission denied",
        NULL,
        "registry:7: handler F: no-such-program-here: No such file",
        "registry:8: handler G: ./dos: its lines end with CR LF: no interpreter is found",
        "registry:9: handler H: ./lost: its interpreter /no/such/perl: No such file",
        NULL,
        "registry:11: handler J: ./dosenv: its lines end with CR LF",
        "registry:12: handler K: ./lostenv: its interpreter no-such-perl: No such file",
        "registry:13: handler L: ./empty: it is empty",
        "registry:14: handler M: ./text: it is text without a \"#!\" line",
        "registry:15: handler N: ./nobody: its \"#!\" line names no interpreter",
    };
    enum { COUNT = sizeof wanted / sizeof *wanted };
    struct tsk_err err;
    write_file("runs", "#!/bin/sh\n");
    write_file("dos", "#!/bin/sh\r\necho\r\n");
    write_file("lost", "#! /no/such/perl -w\n");
    write_file("env", "#!/usr/bin/env sh");
    write_file("dosenv", "#!/usr/bin/env sh\r\n");
    write_file("lostenv", "#!/usr/bin/env no-such-perl\n");
    write_file("empty", "");
    write_file("text", "echo it\n");
    write_file("nobody", "#! \n");
    CHECK(chmod("empty", 0755) == 0 && chmod("text", 0755) == 0 && chmod("nobody", 0755) == 0);
    CHECK(chmod("dosenv", 0755) == 0 && chmod("lostenv", 0755) == 0);
    CHECK(chmod("dos", 0755) == 0 && chmod("lost", 0755) == 0 && chmod("env", 0755) == 0);
    write_file("plain", "");
    CHECK(chmod("runs", 0755) == 0 && mkdir("folder", 0755) == 0);
    struct tsk_handlers *handlers =
        load("handlers:\n  A: {command: [./runs]}\n  B: {command: [./no]}\n"
             "  C: {command: [./plain]}\n  D: {command: [./folder]}\n  E: {command: [sh, -c, x]}\n"
             "  F: {command: [no-such-program-here]}\n  G: {command: [./dos]}\n"
             "  H: {command: [./lost]}\n  I: {command: [./env]}\n"
             "  J: {command: [./dosenv]}\n  K: {command: [./lostenv]}\n"
             "  L: {command: [./empty]}\n  M: {command: [./text]}\n  N: {command: [./nobody]}\n",
             &err);
    if (!CHECK(handlers != NULL) || !CHECK_INT(tsk_handlers_count(handlers), COUNT))
        return;
    for (size_t i = 0; i < COUNT; i++) {
        int result = tsk_handler_check(handlers, tsk_handlers_at(handlers, i), &err);
        CHECK_INT(result, wanted[i] ? -1 : 0);
        if (wanted[i] && !CHECK(!strncmp(err.text, wanted[i], strlen(wanted[i]))))
            fprintf(stderr, "    got: %s\n", err.text);
    }
    tsk_handlers_free(handlers);
}

int main(void)
{
    test_fields();
    test_find();
    test_refused();
    test_files();
    test_ends();
    test_check();
    test_all_mistakes();
    return check_done();
}
