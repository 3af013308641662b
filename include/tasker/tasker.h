/* All of libtasker, from the lowest layer up. */
#ifndef TASKER_TASKER_H
#define TASKER_TASKER_H

#include "tasker/err.h"
#include "tasker/buf.h"
#include "tasker/map.h"
#include "tasker/clock.h"
#include "tasker/line.h"
#include "tasker/parse.h"
#include "tasker/os.h"
#include "tasker/json.h"
#include "tasker/conf.h"
#include "tasker/message.h"
#include "tasker/bus.h"
#include "tasker/store.h"
#include "tasker/state.h"
#include "tasker/retry.h"
#include "tasker/reconcile.h"
#include "tasker/settle.h"
#include "tasker/flow.h"
#include "tasker/outbound.h"

#endif
