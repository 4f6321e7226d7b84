// What the parts of the addon share: how they register themselves and how they answer.
//
// A call answers a negative errno where it fails; the TypeScript layer makes a VhostError of it and
// adds what was attempted on what. Only a wrong argument type throws from here.
#pragma once

#include <napi.h>

#include <cerrno>

#include "owned_fds.h"

void InitFiles(Napi::Env env, Napi::Object exports);
void InitMemory(Napi::Env env, Napi::Object exports);
void InitEventFd(Napi::Env env, Napi::Object exports);
void InitPoll(Napi::Env env, Napi::Object exports);
void InitUnixSocket(Napi::Env env, Napi::Object exports);
void InitUnixListener(Napi::Env env, Napi::Object exports);
void InitTun(Napi::Env env, Napi::Object exports);
void InitInterface(Napi::Env env, Napi::Object exports);
void InitBatch(Napi::Env env, Napi::Object exports);
void InitWriteFrames(Napi::Env env, Napi::Object exports);
void InitReadFrames(Napi::Env env, Napi::Object exports);
void InitSendFrames(Napi::Env env, Napi::Object exports);
void InitReceiveFrames(Napi::Env env, Napi::Object exports);
void InitPacketSocket(Napi::Env env, Napi::Object exports);
void InitReceivePackets(Napi::Env env, Napi::Object exports);
void InitFlatCopy(Napi::Env env, Napi::Object exports);
void InitGuestCopy(Napi::Env env, Napi::Object exports);

// The answer of a call that fails with errno.
inline Napi::Value Failure(Napi::Env env, int error = errno) {
  return Napi::Number::New(env, -error);
}

// The answer of a system call: its result, or a negative errno.
inline Napi::Value Answer(Napi::Env env, long result) {
  return Napi::Number::New(env, result < 0 ? -errno : static_cast<double>(result));
}

// The answer of a system call that made an fd: the calling thread's from now on.
inline Napi::Value AnswerFd(Napi::Env env, int fd) {
  return Answer(env, fd < 0 ? fd : owned_fds::Take(env, fd));
}

inline int IntArgument(const Napi::CallbackInfo& info, size_t index) {
  return info[index].As<Napi::Number>().Int32Value();
}

template <Napi::Value (*call)(const Napi::CallbackInfo&)>
void Export(Napi::Env env, Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<call>(env, name));
}
