#include "addon.h"
void InitCopy(Napi::Env, Napi::Object) {}
