/* All of libtasker, by subject. */
#ifndef TASKER_TASKER_H
#define TASKER_TASKER_H

#include "tasker/blob.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/bus_life.h"
#include "tasker/circuit.h"
#include "tasker/clock.h"
#include "tasker/conf.h"
#include "tasker/dispatch.h"
#include "tasker/err.h"
#include "tasker/exit.h"
#include "tasker/handlers.h"
#include "tasker/json.h"
#include "tasker/ledger.h"
#include "tasker/line.h"
#include "tasker/map.h"
#include "tasker/message.h"
#include "tasker/os.h"
#include "tasker/outbound.h"
#include "tasker/outbox.h"
#include "tasker/parse.h"
#include "tasker/probe.h"
#include "tasker/reconcile.h"
#include "tasker/retry.h"
#include "tasker/scan.h"
#include "tasker/store.h"
#include "tasker/stream.h"
#include "tasker/topic.h"
#include "tasker/tapped.h"

#endif
