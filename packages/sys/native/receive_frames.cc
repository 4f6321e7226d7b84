#include "addon.h"
void InitReceiveFrames(Napi::Env, Napi::Object) {}
