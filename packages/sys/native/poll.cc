// Readiness of an fd on the environment's own event loop: one uv_poll per fd.
//
// A Poll is owned by two: the JavaScript handle and libuv, which still holds it between uv_close and
// its callback. The second to let go deletes it. While polling, the callback is held strongly (the
// subscription lives although nobody may hold the handle); while not, weakly, so that a handle that
// was dropped without `pollClose` can be collected and closes itself. Whoever holds the handle holds
// the callback too.
#include <uv.h>

#include "addon.h"
#include "hot_call.h"

namespace {

struct Poll {
  uv_poll_t uv;
  napi_env env;
  napi_ref callback = nullptr;
  napi_async_context context = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  bool open = true;
  bool strong = false;
  int owners = 2;
};

void Release(Poll* poll) {
  poll->owners -= 1;
  if (poll->owners == 0) delete poll;
}

void SetStrong(Poll* poll, bool strong) {
  if (poll->strong == strong) return;
  poll->strong = strong;
  uint32_t count;
  if (strong) {
    napi_reference_ref(poll->env, poll->callback, &count);
  } else {
    napi_reference_unref(poll->env, poll->callback, &count);
  }
}

void OnClosed(uv_handle_t* handle) {
  Poll* poll = static_cast<Poll*>(handle->data);
  napi_handle_scope scope;
  napi_open_handle_scope(poll->env, &scope);
  napi_delete_reference(poll->env, poll->callback);
  if (poll->context != nullptr) napi_async_destroy(poll->env, poll->context);
  napi_close_handle_scope(poll->env, scope);
  if (poll->cleanup != nullptr) napi_remove_async_cleanup_hook(poll->cleanup);
  Release(poll);
}

void Close(Poll* poll) {
  if (!poll->open) return;
  poll->open = false;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->uv), OnClosed);
}

// The environment goes (process end, worker.terminate): the loop must not keep our handle.
void OnCleanup(napi_async_cleanup_hook_handle, void* data) { Close(static_cast<Poll*>(data)); }

void OnReady(uv_poll_t* uv, int status, int events) {
  Poll* poll = static_cast<Poll*>(uv->data);
  napi_env env = poll->env;
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value callback = nullptr;
  napi_value global = nullptr;
  napi_value arguments[2];
  napi_get_reference_value(env, poll->callback, &callback);
  napi_get_global(env, &global);
  napi_create_int32(env, status, &arguments[0]);
  napi_create_int32(env, events, &arguments[1]);
  if (callback != nullptr) {
    // MakeCallback, not a plain call: promises and nextTick of the callee run right after it.
    napi_make_callback(env, poll->context, global, callback, 2, arguments, nullptr);
    bool pending = false;
    if (napi_is_exception_pending(env, &pending) == napi_ok && pending) {
      napi_value error;
      if (napi_get_and_clear_last_exception(env, &error) == napi_ok) {
        napi_fatal_exception(env, error);
      }
    }
  } else {
    uv_poll_stop(uv);
  }
  napi_close_handle_scope(env, scope);
}

void FinalizeHandle(Napi::Env, Poll* poll) {
  Close(poll);
  Release(poll);
}

// (fd, callback(status, events)) -> handle, not yet polling. -EEXIST: the loop polls fd already.
Napi::Value PollOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return Failure(env, ENOSYS);
  Poll* poll = new Poll;
  poll->env = env;
  poll->uv.data = poll;
  const int status = uv_poll_init(loop, &poll->uv, IntArgument(info, 0));
  if (status < 0) {
    delete poll;
    return Napi::Number::New(env, status);
  }
  napi_create_reference(env, info[1], 0, &poll->callback);
  napi_async_init(env, nullptr, Napi::String::New(env, "rxvhost.poll"), &poll->context);
  napi_add_async_cleanup_hook(env, OnCleanup, poll, &poll->cleanup);
  return Napi::External<Poll>::New(env, poll, FinalizeHandle);
}

// (handle, events): polls for just these from now on, for none when 0.
napi_value PollWatch(napi_env env, napi_callback_info info) {
  HotCall<2> call(env, info);
  Poll* poll = call.External<Poll>(0);
  const int events = call.Int(1);
  if (poll == nullptr || !poll->open) return call.Number(-EBADF);
  const int status = events == 0 ? uv_poll_stop(&poll->uv) : uv_poll_start(&poll->uv, events, OnReady);
  if (status < 0) return call.Number(status);
  SetStrong(poll, events != 0);
  return call.Number(0);
}

napi_value PollClose(napi_env env, napi_callback_info info) {
  HotCall<1> call(env, info);
  Poll* poll = call.External<Poll>(0);
  if (poll != nullptr) Close(poll);
  return nullptr;
}

// (handle, keepsAlive): whether polling keeps the event loop running.
napi_value PollKeepAlive(napi_env env, napi_callback_info info) {
  HotCall<2> call(env, info);
  Poll* poll = call.External<Poll>(0);
  if (poll == nullptr || !poll->open) return nullptr;
  if (call.Int(1) != 0) {
    uv_ref(reinterpret_cast<uv_handle_t*>(&poll->uv));
  } else {
    uv_unref(reinterpret_cast<uv_handle_t*>(&poll->uv));
  }
  return nullptr;
}

}  // namespace

void InitPoll(Napi::Env env, Napi::Object exports) {
  Export<PollOpen>(env, exports, "pollOpen");
  ExportHot(env, exports, "pollWatch", PollWatch);
  ExportHot(env, exports, "pollClose", PollClose);
  ExportHot(env, exports, "pollKeepAlive", PollKeepAlive);
}
