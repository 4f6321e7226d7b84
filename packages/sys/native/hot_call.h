// The bare Node-API, for calls whose own cost counts: no wrapper objects, no exceptions.
#pragma once

#include <napi.h>

#include <cstdint>

// The arguments of a call of N arguments. One of the wrong type reads as 0 or as nullptr, which the
// callee refuses.
template <size_t N>
class HotCall {
 public:
  HotCall(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = N;
    napi_get_cb_info(env, info, &count, argument_, nullptr, nullptr);
  }

  int32_t Int(size_t index, int32_t otherwise = 0) const {
    int32_t value = otherwise;
    napi_get_value_int32(env_, argument_[index], &value);
    return value;
  }

  uint32_t Unsigned(size_t index) const {
    uint32_t value = 0;
    napi_get_value_uint32(env_, argument_[index], &value);
    return value;
  }

  // Any number that JavaScript counts exactly; -1 for what is no number.
  int64_t Int64(size_t index) const {
    int64_t value = -1;
    napi_get_value_int64(env_, argument_[index], &value);
    return value;
  }

  template <typename T>
  T* External(size_t index) const {
    void* value = nullptr;
    if (napi_get_value_external(env_, argument_[index], &value) != napi_ok) return nullptr;
    return static_cast<T*>(value);
  }

  // The elements of a typed array of `type`; nullptr and a length of 0 for anything else.
  template <typename T>
  T* Elements(size_t index, napi_typedarray_type type, size_t* length) const {
    napi_typedarray_type actual;
    void* data = nullptr;
    *length = 0;
    size_t count = 0;
    if (napi_get_typedarray_info(env_, argument_[index], &actual, &count, &data, nullptr,
                                 nullptr) != napi_ok ||
        actual != type) {
      return nullptr;
    }
    *length = count;
    return static_cast<T*>(data);
  }

  napi_value operator[](size_t index) const { return argument_[index]; }

  napi_value Number(int64_t value) const {
    napi_value result = nullptr;
    if (value >= INT32_MIN && value <= INT32_MAX) {
      napi_create_int32(env_, static_cast<int32_t>(value), &result);
    } else {
      napi_create_double(env_, static_cast<double>(value), &result);
    }
    return result;
  }

 private:
  napi_env env_;
  napi_value argument_[N];
};

inline void ExportHot(Napi::Env env, Napi::Object exports, const char* name, napi_callback call) {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}
