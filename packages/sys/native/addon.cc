#include "addon.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  InitFiles(env, exports);
  InitMemory(env, exports);
  InitEventFd(env, exports);
  InitPoll(env, exports);
  InitUnixSocket(env, exports);
  InitUnixListener(env, exports);
  InitTun(env, exports);
  InitInterface(env, exports);
  InitBatch(env, exports);
  InitWriteFrames(env, exports);
  InitReadFrames(env, exports);
  InitSendFrames(env, exports);
  InitReceiveFrames(env, exports);
  InitPacketSocket(env, exports);
  InitReceivePackets(env, exports);
  InitFlatCopy(env, exports);
  InitGuestCopy(env, exports);
  return exports;
}

NODE_API_MODULE(sys, Init)
