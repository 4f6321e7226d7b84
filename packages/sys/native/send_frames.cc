#include "addon.h"
void InitSendFrames(Napi::Env, Napi::Object) {}
