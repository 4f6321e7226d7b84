#include "addon.h"
void InitReadFrames(Napi::Env, Napi::Object) {}
