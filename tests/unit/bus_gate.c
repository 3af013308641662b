/* Names before libzmq: one that nobody tells holds up nothing, few are asked for at once, and
 * what is known comes through. Here the names are told by this file, also to libzmq. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>

#include "bus/bus_private.h"
#include "bus_peers.h"
#include "tasker/buf.h"
#include "tasker/bus.h"

/* ---- the name server */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static bool silent = true;     /* about names that begin with "slow" */
static int going, most, asked; /* those that wait, the most of them at once, how often in all */
static int later;              /* how often "later" was asked for */

/* Waits as for a silent server; then there is no such name. */
static int wait_long(void)
{
    pthread_mutex_lock(&lock);
    asked++;
    most = ++going > most ? going : most;
    while (silent)
        pthread_cond_wait(&wake, &lock);
    going--;
    pthread_mutex_unlock(&lock);
    return EAI_AGAIN;
}

static void set_silent(bool on)
{
    pthread_mutex_lock(&lock);
    silent = on;
    if (!on)
        most = asked = 0;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
}

static int count_of(const int *what)
{
    pthread_mutex_lock(&lock);
    int count = *what;
    pthread_mutex_unlock(&lock);
    return count;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    struct found {
        struct addrinfo info;
        struct sockaddr_in at;
    } * found;
    struct in_addr address;
    bool number = hints && (hints->ai_flags & AI_NUMERICHOST);
    if (!number && strncmp(node, "slow", 4) == 0)
        return wait_long();
    if (!number && strcmp(node, "later") == 0 && later++ == 0)
        return EAI_AGAIN;
    bool known = !number && (strcmp(node, "good") == 0 || strcmp(node, "later") == 0);
    if (inet_pton(AF_INET, known ? "127.0.0.1" : node, &address) != 1)
        return EAI_NONAME;
    found = calloc(1, sizeof *found);
    found->at = (struct sockaddr_in){.sin_family = AF_INET,
                                     .sin_addr = address,
                                     .sin_port = htons(atoi(service ? service : "0"))};
    found->info = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_addrlen = sizeof found->at,
                                    .ai_addr = (struct sockaddr *)&found->at};
    *res = &found->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *res)
{
    free(res);
}

/* ---- */

static const char *port_of(const struct tsk_bus *bus)
{
    return strrchr(tsk_bus_endpoint(bus), ':') + 1;
}

/* Looks after bus until it is time, or an event of a kind comes. Returns whether that came. */
static bool look_after(struct tsk_bus *bus, enum tsk_life_kind kind, struct tsk_life *life, int ms)
{
    struct tsk_frame frame;
    int64_t end = tsk_now_ms() + ms;
    do {
        while (tsk_bus_life(bus, life)) {
            if (life->kind == kind)
                return true;
        }
        tsk_bus_recv(bus, &frame, NULL);
        int64_t until = tsk_earlier(end, tsk_bus_life_deadline(bus));
        struct pollfd fds[] = {{.fd = tsk_bus_life_fd(bus), .events = POLLIN},
                               {.fd = tsk_bus_fd(bus), .events = POLLIN}};
        poll(fds, 2, tsk_left_ms(until));
    } while (tsk_now_ms() < end);
    return false;
}

/* Waits until sender has had the subscription of receiver. */
static bool meets(struct tsk_bus *sender, struct tsk_bus *receiver)
{
    struct tsk_life life;
    struct tsk_frame frame;
    for (int64_t end = tsk_now_ms() + PATIENCE_MS; tsk_now_ms() < end;) {
        look_after(receiver, TSK_LIFE_KINDS, &life, 10);
        if (tsk_bus_recv(sender, &frame, NULL) == 1)
            return CHECK_INT(frame.kind, TSK_FRAME_JOIN);
    }
    return false;
}

static void test_host_names(void)
{
    static const struct {
        const char *endpoint, *name;
    } cases[] = {
        {"tcp://worker9:5556", "worker9"},
        {"tcp://a.b-c_d.example:1", "a.b-c_d.example"},
        {"tcp://127.0.0.1:5556", NULL},
        {"tcp://[::1]:5556", NULL},
        {"tcp://*:5556", NULL},
        {"ipc://worker9:5556", NULL},
        {"tcp://worker9:*", NULL},
        {"tcp://worker9", NULL},
        {"tcp://-worker:5556", NULL},
        {"tcp://eth0:1;worker9:5556", NULL},
        {"tcp://10.0.0.1.example:5556", "10.0.0.1.example"},
    };
    char name[TSK_BUS_NAME_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool is = tsk_bus_host_name(cases[i].endpoint, name, sizeof name);
        CHECK_STR(is ? name : NULL, cases[i].name);
    }
}

/* Two of one silent name: their peer that has an address is met at once, and so is its end. */
static void test_beside(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    char list[256];
    snprintf(list, sizeof list, "tcp://slow1:5556,%s,tcp://slow1:5557", tsk_bus_endpoint(sender));
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, list);
    tsk_bus_subscribe(receiver, "steps");
    int64_t start = tsk_now_ms();
    CHECK(meets(sender, receiver));
    CHECK_INT(say(sender, "steps", "one"), 1);
    CHECK(gets(receiver, "steps", "one"));
    CHECK_INT(count_of(&asked), 1);
    CHECK_INT(tsk_bus_connect(receiver, "tcp://slow1:5557", NULL), 0);
    tsk_bus_disconnect(receiver, "tcp://slow1:5557");
    CHECK_INT(tsk_bus_connect(receiver, "tcp://slow1:5557", NULL), 1);
    tsk_bus_disconnect(receiver, "tcp://slow1:5556");
    tsk_bus_disconnect(receiver, "tcp://slow1:5557");
    CHECK(tsk_bus_close(receiver));
    CHECK(tsk_bus_close(sender));
    CHECK(tsk_now_ms() - start < PATIENCE_MS / 2);
    CHECK_INT(count_of(&going), 1); /* still, and it belongs to nobody now */
    tsk_conf_free(conf);
}

/* A known name comes through, also where it is known only at the second try, and it is told. */
static void test_known(const char *name, bool fails)
{
    struct tsk_conf *conf = test_conf();
    assign(conf, "log.level=info");
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_life life;
    char at[256];
    snprintf(at, sizeof at, "tcp://%s:%s", name, port_of(sender));
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, at);
    tsk_bus_subscribe(receiver, "steps");
    CHECK_STR(tsk_bus_endpoint(receiver), at);
    CHECK(look_after(receiver, TSK_LIFE_LOOKUP, &life, PATIENCE_MS));
    CHECK_STR(life.endpoint, at);
    if (fails) {
        CHECK(look_after(receiver, TSK_LIFE_FAILED, &life, PATIENCE_MS));
        CHECK_STR(life.endpoint, at);
        CHECK(strstr(life.reason, gai_strerror(EAI_AGAIN)) != NULL);
        CHECK_INT(life.interval, 1000);
    }
    CHECK(meets(sender, receiver));
    CHECK_INT(tsk_bus_connect(receiver, at, NULL), 0);
    CHECK(is_quiet(sender)); /* not twice */
    tsk_bus_disconnect(receiver, at);
    CHECK(await(sender, receiver, TSK_FRAME_LEAVE, "steps"));
    tsk_bus_close(receiver);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* Of many that are silent few are asked for, and a good one has its turn before they have a second.
 */
static void test_many(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, "tcp://slow0:1");
    struct tsk_life life;
    char at[256];
    tsk_bus_subscribe(receiver, "steps");
    for (int i = 1; i < 40; i++) {
        snprintf(at, sizeof at, "tcp://slow%d:1", i);
        CHECK_INT(tsk_bus_connect(receiver, at, NULL), 1);
    }
    snprintf(at, sizeof at, "tcp://good:%s", port_of(sender));
    CHECK_INT(tsk_bus_connect(receiver, at, NULL), 1);
    for (int64_t end = tsk_now_ms() + PATIENCE_MS; count_of(&asked) < 16 && tsk_now_ms() < end;)
        look_after(receiver, TSK_LIFE_KINDS, &life, QUIET_MS);
    look_after(receiver, TSK_LIFE_KINDS, &life, QUIET_MS);
    CHECK_INT(count_of(&asked), 16);
    CHECK_INT(count_of(&going), 16);
    set_silent(false);
    CHECK(meets(sender, receiver));
    CHECK_INT(count_of(&asked), 24);
    CHECK(count_of(&most) <= 16);
    CHECK(tsk_bus_close(receiver));
    CHECK(tsk_bus_close(sender));
    tsk_conf_free(conf);
}

/* What takes long is told once, though nobody asked to be told; and the program may end. */
static void test_slow(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_life life;
    set_silent(true);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, "tcp://slow:1");
    CHECK(look_after(receiver, TSK_LIFE_SLOW, &life, PATIENCE_MS));
    CHECK_STR(life.endpoint, "tcp://slow:1");
    CHECK_STR(life.reason, "no answer for 5 s");
    CHECK(!look_after(receiver, TSK_LIFE_SLOW, &life, QUIET_MS));
    CHECK(tsk_bus_close(receiver));
    tsk_conf_free(conf);
}

int main(void)
{
    test_host_names();
    test_beside();
    set_silent(false);
    test_known("good", false);
    test_known("later", true);
    while (count_of(&going))
        poll(NULL, 0, 1);
    set_silent(false); /* and counts anew */
    set_silent(true);
    test_many();
    test_slow();
    return check_done();
}
