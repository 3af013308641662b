/* Columns as wide as their widest cell. The cells stand one behind the other in one buffer, since a
 * batch may have 100 000 steps. */
#include "common/table.h"

#include <string.h>

#include "common/out.h"

/* The width of text on a terminal: its number of characters. */
static size_t plain_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

void table_add(struct table *table, const char *text)
{
    tsk_plain_str(&table->cells, text && *text ? text : "-");
    tsk_buf_char(&table->cells, '\0');
    table->count++;
}

/* The width of each column; 0: it is not shown. */
static void measure(const struct table *table, size_t widths[TABLE_COLUMNS])
{
    bool told[TABLE_COLUMNS] = {false};
    const char *cell = table->cells.data;
    for (size_t i = 0; i < table->count; i++, cell += strlen(cell) + 1) {
        size_t column = i % table->columns, width = plain_width(cell);
        if (width > widths[column])
            widths[column] = width;
        told[column] |= !table->sparse || (i >= table->columns && strcmp(cell, "-") != 0);
    }
    for (size_t c = 0; c < table->columns; c++)
        widths[c] = told[c] ? widths[c] : 0;
}

static void add_blanks(struct tsk_buf *line, size_t count)
{
    while (count--)
        tsk_buf_char(line, ' ');
}

static void add_cell(struct tsk_buf *line, const char *cell, size_t width, bool right)
{
    size_t blanks = width - plain_width(cell);
    if (right)
        add_blanks(line, blanks);
    tsk_buf_str(line, cell);
    if (!right)
        add_blanks(line, blanks);
    add_blanks(line, 2);
}

/* Prints the row that begins at cell. Returns where the next one does. */
static const char *print_row(const struct table *table, const size_t *widths, const char *cell,
                             struct tsk_buf *line)
{
    tsk_buf_reset(line);
    tsk_buf_str(line, table->indent ? table->indent : "");
    for (size_t c = 0; c < table->columns; c++, cell += strlen(cell) + 1) {
        if (widths[c])
            add_cell(line, cell, widths[c], table->right & 1u << c);
    }
    while (line->len && line->data[line->len - 1] == ' ')
        line->len--;
    out_line(line->data, line->len);
    return cell;
}

void table_end(struct table *table)
{
    struct tsk_buf line = TSK_BUF_INIT;
    size_t widths[TABLE_COLUMNS] = {0};
    const char *cell = table->cells.data;
    measure(table, widths);
    for (size_t i = 0; table->columns && i + table->columns <= table->count; i += table->columns)
        cell = print_row(table, widths, cell, &line);
    tsk_buf_fini(&line);
    tsk_buf_fini(&table->cells);
    table->count = 0;
}
