// Which fds belong to which worker thread. A thread that ends takes its objects along, but the fds that
// they held are the process's and would stay open: whoever is terminated has no time to close anything.
//
// Fds made by this addon belong to the environment that made them, from `Take` to `Forget`, and those
// left over are closed when the environment goes. Only environments that asked for it are kept account
// of: the main thread's fds go with the process.
//
// Process-wide and under a lock, so that an fd which one thread made may be closed by another: a number
// that was closed must not stay on anybody's account, since the next open file gets it.
#pragma once

#include <node_api.h>

namespace owned_fds {

// From now on `env` owns what it makes; what is left when it goes is closed.
void Register(napi_env env);

// The fd is the environment's from now on, whoever had it before. Returns it.
int Take(napi_env env, int fd);
// Nobody's from now on: to be called before it is closed, never after.
void Forget(int fd);

}  // namespace owned_fds
