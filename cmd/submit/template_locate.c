/* Which file in a folder is the template of a task: what a file says of itself counts, not its
 * name, as folders of the original have several shapes. Only the top of each file is looked at. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tasker/parse.h"
#include "tasker/buf.h"
#include "tasker/map.h"
#include "submit/template_private.h"

/* What one file says it is, or why it is none. */
struct face {
    char *path, *namespace_name, *name, *version;
    char *wrong; /* NULL: it is a template; else the others are NULL */
};

struct faces {
    struct face *items;
    size_t count, cap;
};

static const char *scalar(yaml_document_t *document, const yaml_node_t *map, const char *key)
{
    const yaml_node_t *node = tsk_template_member(document, map, key, strlen(key));
    return node ? tsk_yaml_text(node) : NULL;
}

static struct face *add_face(struct faces *faces, const char *path, const char *name,
                             const char *wrong)
{
    faces->items = tsk_grow(faces->items, &faces->cap, faces->count + 1, sizeof *faces->items);
    struct face *face = &faces->items[faces->count++];
    *face = (struct face){
        .path = tsk_strdup(path), .name = tsk_strdup(name), .wrong = tsk_strdup(wrong)};
    return face;
}

static void look_at(void *ctx, const char *path, const struct tsk_err *skipped)
{
    yaml_document_t document;
    struct tsk_err err = TSK_ERR_INIT;
    if (skipped && skipped->kind != TSK_OK)
        add_face(ctx, path, NULL, skipped->text);
    if (skipped)
        return;
    if (tsk_yaml_load(path, &document, &err) < 0) {
        add_face(ctx, path, NULL, err.text);
        return;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    bool map = root && root->type == YAML_MAPPING_NODE;
    const char *name = map ? scalar(&document, root, "name") : NULL;
    if (name) {
        struct face *face = add_face(ctx, path, name, NULL);
        const char *space = scalar(&document, root, "namespace_name");
        const char *version = scalar(&document, root, "version");
        if (!space)
            space = scalar(&document, root, "namespace");
        face->namespace_name = tsk_strdup(space ? space : "default");
        face->version = tsk_strdup(version ? version : "0.1.0");
    } else {
        tsk_err_set(&err, TSK_CONFIG, "%s:1: name is missing, so this is no template", path);
        add_face(ctx, path, NULL, err.text);
    }
    yaml_document_delete(&document);
}

/* ---- the files of a folder */

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

bool tsk_template_is_path(const char *name)
{
    return *name == '/' || !strncmp(name, "./", 2) || !strncmp(name, "../", 3) || is_yaml(name);
}

enum { DEPTH_MOST = 16, PATHS_MOST = 10000 };

struct visit {
    int depth;
    size_t paths;         /* folders and YAML files met so far */
    struct tsk_map *seen; /* files and folders by device and inode */
    tsk_template_file_fn *fn;
    void *ctx;
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void visit_path(struct visit *visit, const char *path);

static int visit_folder(struct visit *visit, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, by_name);
    visit->depth++;
    for (int i = 0; i < count; i++) {
        struct tsk_buf path = TSK_BUF_INIT;
        tsk_buf_printf(&path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            visit_path(visit, path.data);
        tsk_buf_fini(&path);
        free(entries[i]);
    }
    visit->depth--;
    if (count >= 0)
        free(entries);
    return count < 0 ? -1 : 0;
}

/* Whether a file or folder was met before, by another name or a link to it. */
static bool met_before(struct visit *visit, const struct stat *info)
{
    char key[64];
    snprintf(key, sizeof key, "%ju %ju", (uintmax_t)info->st_dev, (uintmax_t)info->st_ino);
    if (tsk_map_get(visit->seen, key))
        return true;
    tsk_map_put(visit->seen, key, visit);
    return false;
}

static void visit_path(struct visit *visit, const char *path)
{
    struct stat info;
    struct tsk_err err = TSK_ERR_INIT;
    bool there = stat(path, &info) == 0;
    bool folder = there && S_ISDIR(info.st_mode);
    if (!folder && !is_yaml(path))
        return;
    if ((there && met_before(visit, &info)) || visit->paths > PATHS_MOST)
        return;
    if (visit->paths++ == PATHS_MOST)
        tsk_err_set(&err, TSK_CONFIG, "%s: not read, nor what follows: more than %d paths", path,
                    PATHS_MOST);
    else if (folder && visit->depth > DEPTH_MOST)
        tsk_err_set(&err, TSK_CONFIG, "%s: not read: more than %d folders deep", path, DEPTH_MOST);
    else if (!there || (folder && visit_folder(visit, path) < 0))
        tsk_err_sys(&err, TSK_CONFIG, "%s", path);
    else if (folder)
        return;
    else if (!S_ISREG(info.st_mode))
        tsk_err_set(&err, TSK_OK, "%s: not a regular file", path);
    visit->fn(visit->ctx, path, *err.text ? &err : NULL);
}

int tsk_template_files(const char *folder, tsk_template_file_fn *fn, void *ctx, struct tsk_err *err)
{
    struct stat info;
    struct visit visit = {.seen = tsk_map_new(NULL), .fn = fn, .ctx = ctx};
    if (stat(folder, &info) == 0)
        met_before(&visit, &info);
    int rc = visit_folder(&visit, folder);
    if (rc < 0)
        tsk_err_sys(err, TSK_CONFIG, "the folder of templates, %s (tasks.path), cannot be read",
                    folder);
    tsk_map_free(visit.seen);
    return rc;
}

/* ---- versions */

/* Compares one identifier of each: numbers as numbers, which are less than other words. */
static int compare_words(const char *a, size_t a_len, const char *b, size_t b_len)
{
    bool a_number = strspn(a, "0123456789") >= a_len, b_number = strspn(b, "0123456789") >= b_len;
    if (a_number != b_number)
        return a_number ? -1 : 1;
    for (; a_number && a_len > 1 && *a == '0'; a++)
        a_len--;
    for (; b_number && b_len > 1 && *b == '0'; b++)
        b_len--;
    if (a_number && a_len != b_len)
        return a_len < b_len ? -1 : 1;
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static size_t word_length(const char *text, const char *end)
{
    const char *dot = memchr(text, '.', (size_t)(end - text));
    return (size_t)((dot ? dot : end) - text);
}

/* Compares identifiers between dots, up to the ends. missing stands for one that a list lacks; if
 * it is NULL, the shorter list is less. */
static int compare_lists(const char *a, const char *a_end, const char *b, const char *b_end,
                         const char *missing)
{
    int order = 0;
    while (order == 0 && (a < a_end || b < b_end)) {
        if (!missing && (a >= a_end || b >= b_end))
            return a < a_end ? 1 : -1;
        size_t a_len = a < a_end ? word_length(a, a_end) : 1;
        size_t b_len = b < b_end ? word_length(b, b_end) : 1;
        order = compare_words(a < a_end ? a : missing, a_len, b < b_end ? b : missing, b_len);
        a = a < a_end ? a + a_len + 1 : a;
        b = b < b_end ? b + b_len + 1 : b;
    }
    return order;
}

/* Compares by semantic versioning: 1.10.0 is newer than 1.9, and 2.0.0 than 2.0.0-rc.1. What stands
 * after "+" does not count. */
static int compare_versions(const char *a, const char *b)
{
    a += *a == 'v';
    b += *b == 'v';
    const char *a_core = a + strcspn(a, "-+"), *b_core = b + strcspn(b, "-+");
    int order = compare_lists(a, a_core, b, b_core, "0");
    if (order || (*a_core != '-' && *b_core != '-'))
        return order;
    if (*a_core != '-' || *b_core != '-')
        return *a_core == '-' ? -1 : 1;
    a = a_core + 1;
    b = b_core + 1;
    return compare_lists(a, a + strcspn(a, "+"), b, b + strcspn(b, "+"), NULL);
}

/* ---- the one that is asked for */

static bool fits(const struct face *face, const char *space, const char *name, const char *version)
{
    return !face->wrong && !strcmp(face->name, name) &&
           (!space || !strcmp(face->namespace_name, space)) &&
           (!version || !strcmp(face->version, version));
}

/* Writes which versions of the task there are, in the order of the files. Returns whether any. */
static bool add_versions(const struct faces *faces, const char *space, const char *name, char *out,
                         size_t size)
{
    struct tsk_buf text = TSK_BUF_INIT;
    for (size_t i = 0; i < faces->count; i++) {
        const char *version = faces->items[i].version;
        size_t first = 0; /* the same version may be in another namespace, too */
        while (!fits(&faces->items[first], space, name, version) && first < i)
            first++;
        if (fits(&faces->items[i], space, name, NULL) && first == i && text.len < size / 2)
            tsk_buf_printf(&text, "%s%.60s", text.len ? ", " : "", version);
    }
    bool any = text.len > 0;
    if (any)
        snprintf(out, size, " (there is %s)", text.data);
    tsk_buf_fini(&text);
    return any;
}

/* A namespace in which there is such a task, or NULL. */
static const char *other_space(const struct faces *faces, const char *name, const char *version)
{
    for (size_t i = 0; i < faces->count; i++) {
        if (fits(&faces->items[i], NULL, name, version))
            return faces->items[i].namespace_name;
    }
    return NULL;
}

/* A file that is no template, though its name below the folder, or that of a folder there, is the
 * name of the task; or NULL. */
static const struct face *broken(const struct faces *faces, const char *folder, const char *name)
{
    for (size_t i = 0; i < faces->count; i++) {
        const struct face *face = &faces->items[i];
        const char *found = face->path + strlen(folder);
        while (face->wrong && (found = strchr(found, '/')))
            if (!strncmp(++found, name, strlen(name)) && strchr("/.", found[strlen(name)]))
                return face;
    }
    return NULL;
}

static int tell_none(const struct faces *faces, const char *folder, const char *space,
                     const char *name, const char *version, struct tsk_err *err)
{
    const char **names = tsk_alloc((faces->count + 1) * sizeof *names), *wrong = NULL;
    size_t count = 0, wrongs = 0;
    for (size_t i = 0; i < faces->count; i++) {
        if (!faces->items[i].wrong)
            names[count++] = faces->items[i].name;
        else if (++wrongs == 1)
            wrong = faces->items[i].wrong;
    }
    const char *near = tsk_nearest(name, names, count);
    const char *elsewhere = other_space(faces, name, version);
    char hint[256] = "", others[32] = "";
    bool versions = version && add_versions(faces, space, name, hint, sizeof hint);
    if (!versions && elsewhere)
        snprintf(hint, sizeof hint, " (there is one of namespace %.100s)", elsewhere);
    else if (!versions && near && strcmp(near, name) != 0)
        snprintf(hint, sizeof hint, " (did you mean %.100s?)", near);
    if (wrongs > 1)
        snprintf(others, sizeof others, ", and %zu more", wrongs - 1);
    tsk_err_set(err, TSK_DATA,
                "there is no template for task \"%.100s\"%s%.60s%s%.60s in %s%s%s%.300s%s%s", name,
                space ? " of namespace " : "", space ? space : "", version ? " version " : "",
                version ? version : "", folder, hint, wrong ? " (not read: " : "",
                wrong ? wrong : "", others, wrong ? ")" : "");
    free(names);
    return -1;
}

/* Picks the newest of those that fit. Returns NULL with err if none does, or if the answer is not
 * clear: two namespaces have the task, two files the same version of it, or one cannot be read. */
static const struct face *pick(const struct faces *faces, const char *folder, const char *space,
                               const char *name, const char *version, struct tsk_err *err)
{
    const struct face *best = NULL, *twin = NULL;
    for (size_t i = 0; i < faces->count; i++) {
        const struct face *face = &faces->items[i];
        if (!fits(face, space, name, version))
            continue;
        if (best && strcmp(best->namespace_name, face->namespace_name) != 0) {
            tsk_err_set(err, TSK_DATA,
                        "task \"%.100s\" is in more than one namespace: %.60s (%s) and %.60s (%s)",
                        name, best->namespace_name, best->path, face->namespace_name, face->path);
            return NULL;
        }
        int order = best ? compare_versions(face->version, best->version) : 1;
        if (order == 0 && strcmp(face->version, best->version) == 0)
            twin = face;
        if (order > 0)
            twin = NULL;
        if (order > 0 || (order == 0 && strcmp(face->version, best->version) > 0))
            best = face;
    }
    const struct face *unclear = best && version ? NULL : broken(faces, folder, name);
    if (unclear)
        tsk_err_set(err, TSK_CONFIG, "%s", unclear->wrong);
    else if (twin)
        tsk_err_set(err, TSK_CONFIG, "%s and %s are both the template of %.60s/%.100s %.60s",
                    best->path, twin->path, best->namespace_name, name, best->version);
    else if (!best)
        tell_none(faces, folder, space, name, version, err);
    return unclear || twin ? NULL : best;
}

static void faces_fini(struct faces *faces)
{
    for (size_t i = 0; i < faces->count; i++) {
        free(faces->items[i].path);
        free(faces->items[i].namespace_name);
        free(faces->items[i].name);
        free(faces->items[i].version);
        free(faces->items[i].wrong);
    }
    free(faces->items);
}

char *tsk_template_locate(const char *folder, const char *namespace_name, const char *name,
                          const char *version, struct tsk_err *err)
{
    struct faces faces = {NULL, 0, 0};
    if (tsk_template_files(folder, look_at, &faces, err) < 0)
        return NULL;
    const struct face *face = pick(&faces, folder, namespace_name, name, version, err);
    char *path = face ? tsk_strdup(face->path) : NULL;
    faces_fini(&faces);
    return path;
}
