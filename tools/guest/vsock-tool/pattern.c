/*
 * Bytes that both ends can make: blocks of a mebibyte of pseudo-random words, the first word of each
 * being its number, so that a lost, doubled or misplaced byte changes the hash.
 */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

struct pattern *pattern_begin(uint32_t seed) {
  struct pattern *pattern = calloc(1, sizeof *pattern);
  if (pattern == NULL) fail("calloc");
  uint32_t word = seed;
  for (size_t at = 0; at < PATTERN_BLOCK; at += sizeof word) {
    word ^= word << 13;
    word ^= word >> 17;
    word ^= word << 5;
    memcpy(pattern->bytes + at, &word, sizeof word);
  }
  memset(pattern->bytes, 0, sizeof pattern->block);
  return pattern;
}

/* The next bytes, at most `limit`; they stay as they are until the next call. */
const uint8_t *pattern_next(struct pattern *pattern, size_t limit, size_t *length) {
  if (pattern->at == PATTERN_BLOCK) {
    pattern->at = 0;
    pattern->block += 1;
    memcpy(pattern->bytes, &pattern->block, sizeof pattern->block);
  }
  size_t left = PATTERN_BLOCK - pattern->at;
  *length = left < limit ? left : limit;
  const uint8_t *bytes = pattern->bytes + pattern->at;
  pattern->at += *length;
  return bytes;
}
