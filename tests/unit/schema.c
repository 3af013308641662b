/* JSON Schema: a table of schemas, values and what is told first; and of schemas that are none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "submit/schema.h"
#include "tasker/tasker.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct told {
    size_t count;
    char first[512]; /* "WHERE: WHAT" */
};

static void tell(void *ctx, const char *where, const char *what)
{
    struct told *told = ctx;
    if (!told->count++)
        snprintf(told->first, sizeof told->first, "%s: %s", where, what);
}

/* Each row: a schema, a value, what is told of it ("" if it fits; else a part of it). */
static const struct {
    const char *schema, *value, *told;
} fits[] = {
    {"{}", "null", ""},
    {"true", "1", ""},
    {"false", "1", ": may not be here"},
    {"{'type':'integer'}", "3", ""},
    {"{'type':'integer'}", "3.0", ""},
    {"{'type':'integer'}", "3.5", ": has to be of type integer, and is a number"},
    {"{'type':'number'}", "3", ""},
    {"{'type':'string'}", "3", "has to be of type string, and is an integer"},
    {"{'type':['string','null']}", "null", ""},
    {"{'type':['string','null']}", "[]", "type string or null, and is a list"},
    {"{'type':'boolean'}", "true", ""},
    {"{'type':'object'}", "[]", "type object"},
    {"{'enum':[1,'a',null]}", "1.0", ""},
    {"{'enum':[1,'a',null]}", "null", ""},
    {"{'enum':[1,'a',null]}", "'b'", "is none of"},
    {"{'enum':[{'a':1,'b':[2]}]}", "{'b':[2.0],'a':1}", ""},
    {"{'const':{'a':1}}", "{'a':2}", "is not"},
    {"{'const':null}", "null", ""},
    {"{'const':null}", "0", "0 is not null"},
    {"{'const':false}", "0", "0 is not false"},
    {"{'minimum':3}", "3", ""},
    {"{'minimum':3}", "2", "2 is less than 3"},
    {"{'minimum':9007199254740993}", "9007199254740992", "is less than"},
    {"{'minimum':3}", "'a'", ""},
    {"{'maximum':3}", "3.5", "3.5 is more than 3"},
    {"{'exclusiveMinimum':3}", "3", "3 is not more than 3"},
    {"{'exclusiveMaximum':3}", "3", "3 is not less than 3"},
    {"{'exclusiveMaximum':3}", "2.9", ""},
    {"{'minimum':3,'exclusiveMinimum':true}", "3", "3 is not more than 3"},
    {"{'minimum':3,'exclusiveMinimum':false}", "3", ""},
    {"{'const':18446744073709551616}", "18446744073709551616", ""},
    {"{'const':18446744073709551616}", "18446744073709551617", "is not 18446744073709551616"},
    {"{'const':-18446744073709551616}", "18446744073709551616", "is not -18446744073709551616"},
    {"{'const':0}", "-0", ""},
    {"{'type':'integer','minimum':18446744073709551617}", "18446744073709551616", "is less than"},
    {"{'maximum':-18446744073709551617}", "-18446744073709551616", "is more than"},
    {"{'multipleOf':2}", "18446744073709551617", "is no multiple of 2"},
    {"{'multipleOf':3}", "-18446744073709551618", ""},
    {"{'multipleOf':0.1}", "0.3", ""},
    {"{'multipleOf':0.1}", "0.35", "is no multiple of"},
    {"{'multipleOf':7}", "21", ""},
    {"{'multipleOf':7}", "22", "22 is no multiple of 7"},
    {"{'minLength':2}", "'\xc3\xa4\xc3\xb6'", ""},
    {"{'minLength':3}", "'\xc3\xa4\xc3\xb6'", "has 2 characters, fewer than 3"},
    {"{'maxLength':1}", "'ab'", "has 2 characters, more than 1"},
    {"{'pattern':'^\\\\d{3}$'}", "'123'", ""},
    {"{'pattern':'^\\\\d{3}$'}", "'1234'", "does not match"},
    {"{'pattern':'(?:a|b)c'}", "'xxbc'", ""},
    {"{'pattern':'^(a+)+$'}", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
     "it takes too long"},
    {"{'pattern':'^(a|a)*$'}", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
     "it takes too long"},
    {"{'format':'date-time'}", "'2026-02-28T23:59:60Z'", ""},
    {"{'format':'date-time'}", "'2026-02-28T23:59:59.5+01:00'", ""},
    {"{'format':'date-time'}", "'2026-02-29T00:00:00Z'", "is no date-time"},
    {"{'format':'date-time'}", "'2026-02-28T00:00:00'", "is no date-time"},
    {"{'format':'date-time'}", "'2026-02-28T12:00:60Z'", "is no date-time"},
    {"{'format':'time'}", "'23:59:60Z'", ""},
    {"{'format':'time'}", "'24:00:00Z'", "is no time"},
    {"{'format':'date'}", "'2024-02-29'", ""},
    {"{'format':'date'}", "'2100-02-29'", "is no date"},
    {"{'format':'date'}", "'2024-13-01'", "is no date"},
    {"{'format':'time'}", "'24:00:00Z'", "is no time"},
    {"{'format':'email'}", "'a.b@example.org'", ""},
    {"{'format':'email'}", "'@example.org'", "is no email"},
    {"{'format':'email'}", "'a b@example.org'", "is no email"},
    {"{'format':'hostname'}", "'a-b.example'", ""},
    {"{'format':'hostname'}", "'a..b'", "is no hostname"},
    {"{'format':'hostname'}", "'-a'", "is no hostname"},
    {"{'format':'hostname'}", "'.a'", "is no hostname"},
    {"{'format':'hostname'}", "'a.'", "is no hostname"},
    {"{'format':'ipv4'}", "'1.2.3.4'", ""},
    {"{'format':'ipv4'}", "'1.2.3'", "is no ipv4"},
    {"{'format':'ipv6'}", "'::1'", ""},
    {"{'format':'ipv6'}", "':::1'", "is no ipv6"},
    {"{'format':'uri'}", "'https://a.example/b?c=%20d#e'", ""},
    {"{'format':'uri'}", "'a.example'", "is no uri"},
    {"{'format':'uri'}", "'http://a b'", "is no uri"},
    {"{'format':'uuid'}", "'0193bb7a-0000-7000-8000-00000000000a'", ""},
    {"{'format':'uuid'}", "'0193bb7a0000-7000-8000-00000000000a'", "is no uuid"},
    {"{'format':'regex'}", "'a('", "is no regex"},
    {"{'minItems':1}", "[]", "has 0 entries, fewer than 1"},
    {"{'maxItems':1}", "[1,2]", "has 2 entries, more than 1"},
    {"{'uniqueItems':true}", "[1,'1',[1],{'a':1}]", ""},
    {"{'uniqueItems':true}", "[1,2,1.0]", "entries 0 and 2 are the same"},
    {"{'uniqueItems':false}", "[1,1]", ""},
    {"{'items':{'type':'string'}}", "['a',1]", "/1: has to be of type string"},
    {"{'required':['a','b']}", "{'a':null}", ": \"b\" is missing"},
    {"{'properties':{'a':{'type':'string'}}}", "{'a':1}", "/a: has to be of type string"},
    {"{'properties':{'a':{}},'additionalProperties':false}", "{'b':1}", "/b: is not known here"},
    {"{'properties':{'a':{}},'additionalProperties':{'type':'null'}}", "{'b':1}", "/b: has to be"},
    {"{'additionalProperties':true}", "{'b':1}", ""},
    {"{'properties':{'a/b~c':false}}", "{'a/b~c':1}", "/a~1b~0c: may not be here"},
    {"{'allOf':[{'minimum':1},{'maximum':3}]}", "4", "4 is more than 3"},
    {"{'anyOf':[{'type':'string'},{'minimum':3}]}", "4", ""},
    {"{'anyOf':[{'type':'string'},{'minimum':3}]}", "2", "fits none of the alternatives"},
    {"{'oneOf':[{'minimum':1},{'minimum':3}]}", "2", ""},
    {"{'oneOf':[{'minimum':1},{'minimum':3}]}", "4", "and fits 2"},
    {"{'not':{'type':'null'}}", "null", "fits what it must not be"},
    {"{'not':{'type':'null'}}", "1", ""},
    {"{'$ref':'#/definitions/x','definitions':{'x':{'type':'string'}}}", "1", "type string"},
    {"{'$ref':'#/$defs/a~1b','$defs':{'a/b':{'type':'string'}}}", "1", "type string"},
    {"{'properties':{'next':{'$ref':'#'},'v':{'type':'integer'}}}", "{'next':{'next':{'v':'x'}}}",
     "/next/next/v: has to be of type integer"},
    {"{'anyOf':[{'$ref':'#'},{'$ref':'#'}]}", "1", "fits none"},
    {"{'title':'t','description':'d','default':1,'examples':[],'$schema':'s','$id':'i'}", "1", ""},
};

/* Rows: a schema that is none, and a part of what is told. */
static const struct {
    const char *schema, *told;
} broken[] = {
    {"1", ": has to be a schema"},
    {"{'if':{}}", "/if: \"if\" is not supported"},
    {"{'patternProperties':{}}", "/patternProperties: \"patternProperties\" is not supported"},
    {"{'properties':{'a':{'dependentRequired':{}}}}", "/properties/a/dependentRequired: "},
    {"{'type':'text'}", "/type: \"text\" is no type"},
    {"{'type':['string','x']}", "/type/1: \"x\" is no type"},
    {"{'type':[]}", "/type: has to name at least one type"},
    {"{'type':null}", "/type: has to be the name of a type, not null"},
    {"{'required':'a'}", "/required: has to be a list of names, not a text"},
    {"{'required':[1]}", "/required/0: has to be a text"},
    {"{'minimum':'3'}", "/minimum: has to be a number, not a text"},
    {"{'multipleOf':0}", "/multipleOf: has to be a number above 0"},
    {"{'minLength':-1}", "/minLength: has to be a whole number from 0"},
    {"{'maxItems':1.5}", "/maxItems: has to be a whole number from 0"},
    {"{'pattern':'a('}", "/pattern: is no regular expression: "},
    {"{'format':'colour'}", "/format: the format \"colour\" is not supported"},
    {"{'items':[{}]}", "/items: a list of schemas, one an entry, is not supported"},
    {"{'items':{'type':'x'}}", "/items/type: \"x\" is no type"},
    {"{'enum':[]}", "/enum: has to have at least one entry"},
    {"{'allOf':{}}", "/allOf: has to be a list"},
    {"{'$ref':'http://x'}", "/$ref: \"http://x\": references out of the schema"},
    {"{'$ref':'#/nowhere'}", "/$ref: \"#/nowhere\" names no schema"},
    {"{'$ref':'#'}", "/$ref: \"#\" leads in a circle"},
    {"{'$defs':{'a':{'$ref':'#/$defs/b'},'b':{'$ref':'#/$defs/a'}}}", "leads in a circle"},
    {"{'uniqueItems':1}", "/uniqueItems: has to be true or false"},
    {"{'not':[]}", "/not: has to be a schema"},
};

/* Parses a text in which ' stands for ". */
static struct json_object *parse(struct tsk_json *parser, const char *text)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct json_object *value = NULL;
    char *copy = tsk_strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    if (!CHECK_INT(tsk_json_parse(parser, copy, strlen(copy), &value, &err), 0))
        fprintf(stderr, "    %s: %s\n", copy, err.text);
    free(copy);
    return value;
}

static void check_fits(struct tsk_json *parser)
{
    for (size_t i = 0; i < COUNT(fits); i++) {
        struct told bad = {0, ""}, told = {0, ""};
        struct json_object *schema = parse(parser, fits[i].schema);
        struct json_object *value = parse(parser, fits[i].value);
        bool ok = CHECK_INT(tsk_schema_check(schema, tell, &bad), 0);
        size_t count = tsk_schema_validate(schema, value, tell, &told);
        ok = CHECK((count > 0) == (*fits[i].told != '\0')) && ok;
        ok = CHECK(strstr(told.first, fits[i].told)) && ok;
        if (!ok)
            fprintf(stderr, "    %s, %s: %s%s\n", fits[i].schema, fits[i].value, bad.first,
                    told.first);
        json_object_put(schema);
        json_object_put(value);
    }
}

static void check_broken(struct tsk_json *parser)
{
    for (size_t i = 0; i < COUNT(broken); i++) {
        struct told told = {0, ""};
        struct json_object *schema = parse(parser, broken[i].schema);
        bool ok = CHECK(tsk_schema_check(schema, tell, &told) > 0);
        ok = CHECK(strstr(told.first, broken[i].told)) && ok;
        if (!ok)
            fprintf(stderr, "    %s: %s\n", broken[i].schema, told.first);
        json_object_put(schema);
    }
}

int main(void)
{
    struct tsk_json *parser = tsk_json_new();
    check_fits(parser);
    check_broken(parser);
    tsk_json_free(parser);
    return check_done();
}
