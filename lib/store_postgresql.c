#include "store_ops.h"
const struct tsk_store_ops tsk_store_postgresql = {.kind = TSK_STORE_POSTGRESQL};
