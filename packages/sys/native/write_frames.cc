#include "addon.h"
void InitWriteFrames(Napi::Env, Napi::Object) {}
