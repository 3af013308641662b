/* Columns as wide as their widest cell, counted in characters and not in bytes. */
#include "status/table.h"

#include <stdlib.h>
#include <string.h>

#include "common/out.h"
#include "tasker/buf.h"

/* Whether the character at text is one that controls a terminal: C0, DEL, or C1 as UTF-8. */
static bool is_control(const unsigned char *text)
{
    return *text < 0x20 || *text == 0x7F || (*text == 0xC2 && text[1] >= 0x80 && text[1] < 0xA0);
}

char *text_plain(const char *text)
{
    struct tsk_buf plain = TSK_BUF_INIT;
    tsk_buf_str(&plain, "");
    for (; *text; text++) {
        if (is_control((const unsigned char *)text))
            tsk_buf_printf(&plain, "\\x%02x", (unsigned char)*text);
        else
            tsk_buf_char(&plain, *text);
    }
    return plain.data;
}

static size_t characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

void table_add(struct table *table, const char *text)
{
    table->cells = tsk_grow(table->cells, &table->cap, table->count + 1, sizeof *table->cells);
    table->cells[table->count++] = text_plain(text && *text ? text : "-");
}

static void print_row(char *const *cells, const size_t *width, size_t columns)
{
    struct tsk_buf line = TSK_BUF_INIT;
    for (size_t i = 0; i < columns; i++) {
        tsk_buf_str(&line, cells[i]);
        for (size_t n = characters(cells[i]); i + 1 < columns && n < width[i] + 2; n++)
            tsk_buf_char(&line, ' ');
    }
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

void table_end(struct table *table)
{
    size_t width[TABLE_COLUMNS] = {0};
    for (size_t i = 0; i < table->count; i++) {
        size_t n = characters(table->cells[i]), *most = &width[i % table->columns];
        *most = n > *most ? n : *most;
    }
    for (size_t i = 0; i + table->columns <= table->count; i += table->columns)
        print_row(table->cells + i, width, table->columns);
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){.columns = table->columns};
}
