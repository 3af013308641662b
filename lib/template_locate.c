/* Which file in a folder is the template of a task: what a file says of itself counts, not its
 * name, as folders of the original have several shapes. Only the top of each file is looked at. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "parse_private.h"
#include "tasker/buf.h"
#include "tasker/template.h"
#include "yaml_private.h"

enum { DEPTH_MOST = 3, FILES_MOST = 10000 };

/* What one file says it is; NULL: not told. */
struct face {
    char *path, *namespace_name, *name, *version;
};

struct faces {
    struct face *items;
    size_t count, cap;
};

static const char *scalar(yaml_document_t *document, const yaml_node_t *map, const char *key)
{
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top;
         pair++) {
        const char *name = tsk_yaml_text(yaml_document_get_node(document, pair->key));
        if (name && strcmp(name, key) == 0)
            return tsk_yaml_text(yaml_document_get_node(document, pair->value));
    }
    return NULL;
}

static void look_at(struct faces *faces, const char *path)
{
    yaml_document_t document;
    if (tsk_yaml_load(path, &document, NULL) < 0)
        return;
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    if (root && root->type == YAML_MAPPING_NODE && scalar(&document, root, "name")) {
        const char *space = scalar(&document, root, "namespace_name");
        if (!space)
            space = scalar(&document, root, "namespace");
        const char *version = scalar(&document, root, "version");
        faces->items = tsk_grow(faces->items, &faces->cap, faces->count + 1, sizeof *faces->items);
        faces->items[faces->count++] = (struct face){
            tsk_strdup(path), tsk_strdup(space ? space : "default"),
            tsk_strdup(scalar(&document, root, "name")), tsk_strdup(version ? version : "0.1.0")};
    }
    yaml_document_delete(&document);
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

/* Looks at all files of a folder and of those within. Returns 0, or -1 with errno. */
static int search(struct faces *faces, const char *folder, int depth)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    struct stat info;
    if (!dir)
        return -1;
    while ((entry = readdir(dir)) && faces->count < FILES_MOST) {
        struct tsk_buf path = TSK_BUF_INIT;
        if (entry->d_name[0] == '.')
            continue;
        tsk_buf_printf(&path, "%s/%s", folder, entry->d_name);
        if (stat(path.data, &info) == 0 && S_ISDIR(info.st_mode) && depth < DEPTH_MOST)
            search(faces, path.data, depth + 1);
        else if (is_yaml(entry->d_name))
            look_at(faces, path.data);
        tsk_buf_fini(&path);
    }
    closedir(dir);
    return 0;
}

/* Compares versions part by part, numbers as numbers: 1.10.0 is newer than 1.9. */
static int compare_versions(const char *a, const char *b)
{
    while (*a || *b) {
        char *end_a, *end_b;
        unsigned long m = strtoul(a, &end_a, 10), n = strtoul(b, &end_b, 10);
        if (m != n)
            return m < n ? -1 : 1;
        if (*end_a != *end_b)
            return *end_a < *end_b ? -1 : 1;
        a = end_a + (*end_a != '\0');
        b = end_b + (*end_b != '\0');
    }
    return 0;
}

static bool fits(const struct face *face, const char *space, const char *name, const char *version)
{
    return !strcmp(face->name, name) && (!space || !strcmp(face->namespace_name, space)) &&
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

static int tell_none(const struct faces *faces, const char *folder, const char *space,
                     const char *name, const char *version, struct tsk_err *err)
{
    const char **names = tsk_alloc((faces->count + 1) * sizeof *names);
    for (size_t i = 0; i < faces->count; i++)
        names[i] = faces->items[i].name;
    const char *near = tsk_nearest(name, names, faces->count);
    const char *elsewhere = other_space(faces, name, version);
    char hint[256] = "";
    bool versions = version && add_versions(faces, space, name, hint, sizeof hint);
    if (!versions && elsewhere)
        snprintf(hint, sizeof hint, " (there is one of namespace %.100s)", elsewhere);
    else if (!versions && near && strcmp(near, name) != 0)
        snprintf(hint, sizeof hint, " (did you mean %.100s?)", near);
    tsk_err_set(err, TSK_DATA, "there is no template for task \"%.100s\"%s%.60s%s%.60s in %s%s",
                name, space ? " of namespace " : "", space ? space : "",
                version ? " version " : "", version ? version : "", folder, hint);
    free(names);
    return -1;
}

/* Picks the newest of those that fit. Returns NULL with err if none does, or two namespaces do. */
static const struct face *pick(const struct faces *faces, const char *folder, const char *space,
                               const char *name, const char *version, struct tsk_err *err)
{
    const struct face *best = NULL;
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
        if (order > 0 || (order == 0 && strcmp(face->path, best->path) < 0))
            best = face;
    }
    if (!best)
        tell_none(faces, folder, space, name, version, err);
    return best;
}

static void faces_fini(struct faces *faces)
{
    for (size_t i = 0; i < faces->count; i++) {
        free(faces->items[i].path);
        free(faces->items[i].namespace_name);
        free(faces->items[i].name);
        free(faces->items[i].version);
    }
    free(faces->items);
}

char *tsk_template_locate(const char *folder, const char *namespace_name, const char *name,
                          const char *version, struct tsk_err *err)
{
    struct faces faces = {NULL, 0, 0};
    if (search(&faces, folder, 1) < 0) {
        tsk_err_sys(err, TSK_CONFIG, "the folder of templates, %s (tasks.path), cannot be read",
                    folder);
        return NULL;
    }
    const struct face *face = pick(&faces, folder, namespace_name, name, version, err);
    char *path = face ? tsk_strdup(face->path) : NULL;
    faces_fini(&faces);
    return path;
}
