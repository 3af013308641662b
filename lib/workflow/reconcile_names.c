/* Texts of one batch (step names, workers, categories, reasons) kept once each: a batch of 100 000
 * steps has few different ones. One buffer for the texts, one open-addressing table of their
 * places. */
#include "workflow/reconcile_private.h"

#include <stdlib.h>
#include <string.h>

void tsk_names_fini(struct tsk_names *names)
{
    tsk_buf_fini(&names->text);
    free(names->slots);
    *names = (struct tsk_names){0};
}

static uint32_t hash_of(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash ^ (hash >> 15);
}

/* Returns the slot where text is, or is to be. */
static uint32_t *find(const struct tsk_names *names, const char *text)
{
    size_t at = hash_of(text) & (names->size - 1);
    while (names->slots[at] && strcmp(names->text.data + names->slots[at], text))
        at = (at + 1) & (names->size - 1);
    return &names->slots[at];
}

static void grow(struct tsk_names *names)
{
    uint32_t *old = names->slots;
    size_t old_size = names->size;
    names->size = old_size ? old_size * 2 : 16;
    names->slots = tsk_alloc(names->size * sizeof *names->slots);
    for (size_t i = 0; i < old_size; i++) {
        if (old[i])
            *find(names, names->text.data + old[i]) = old[i];
    }
    free(old);
}

uint32_t tsk_names_add(struct tsk_names *names, const char *text)
{
    if (!text || !*text)
        return 0;
    if (names->count * 2 >= names->size)
        grow(names);
    if (!names->text.len)
        tsk_buf_char(&names->text, '\0'); /* so that no text stands at 0 */
    uint32_t *slot = find(names, text);
    if (*slot)
        return *slot;
    if (names->text.len > UINT32_MAX / 2)
        return 0; /* 2 GiB of names: they are for people only, and these can go without */
    *slot = (uint32_t)names->text.len;
    names->count++;
    tsk_buf_add(&names->text, text, strlen(text) + 1);
    return *slot;
}

const char *tsk_names_get(const struct tsk_names *names, uint32_t at)
{
    return at ? names->text.data + at : NULL;
}
