/*
 * The driver's side of a packed ring (virtio 1.2, 2.8) whose buffers stay where they are and which the
 * device uses in order, so that an entry keeps its address and id. What the device writes over, length
 * and flags, is written with each offer.
 */
#ifndef PACKED_RING_H
#define PACKED_RING_H

#include <stdatomic.h>
#include <stdint.h>

enum { PACKED_AVAILABLE = 1 << 7, PACKED_USED = 1 << 15, PACKED_WRITE = 2 };
/* As bench/src/peers/plain-guest.ts prepares entries: a frame to send, a buffer to receive one. */
enum { FRAME_BYTES = 12 + 64, BUFFER_BYTES = 2048 };

struct packed_entry {
	uint64_t address;
	uint32_t length;
	uint16_t id;
	_Atomic uint16_t flags;
};

/* An event suppression area. */
struct packed_event {
	uint16_t offset;
	_Atomic uint16_t flags;
};

struct packed_ring {
	struct packed_entry *entries;
	unsigned size;
	uint32_t length;
	uint16_t kind;
	/* Where the next offer goes, and the next used entry is; the wrap counter of each. */
	unsigned offer, used;
	int offer_wrap, used_wrap;
};

static inline struct packed_ring packed_ring(void *entries, unsigned size, unsigned offered,
					     int receive)
{
	return (struct packed_ring){
		.entries = entries,
		.size = size,
		.length = receive ? BUFFER_BYTES : FRAME_BYTES,
		.kind = receive ? PACKED_WRITE : 0,
		.offer = offered % size,
		.offer_wrap = offered < size,
		.used_wrap = 1,
	};
}

static inline void packed_step(unsigned *position, int *wrap, unsigned size)
{
	if (++*position < size)
		return;
	*position = 0;
	*wrap = !*wrap;
}

/* Makes the next entry available. */
static inline void packed_offer(struct packed_ring *ring)
{
	struct packed_entry *entry = &ring->entries[ring->offer];
	uint16_t turn = ring->offer_wrap ? PACKED_AVAILABLE : PACKED_USED;

	entry->length = ring->length;
	entry->id = ring->offer;
	atomic_store_explicit(&entry->flags, ring->kind | turn, memory_order_release);
	packed_step(&ring->offer, &ring->offer_wrap, ring->size);
}

/* Whether the device has used the next entry; if so, goes on to the one after it. */
static inline int packed_take_used(struct packed_ring *ring)
{
	uint16_t both = PACKED_AVAILABLE | PACKED_USED;
	uint16_t flags =
		atomic_load_explicit(&ring->entries[ring->used].flags, memory_order_acquire);

	if ((flags & both) != (ring->used_wrap ? both : 0))
		return 0;
	packed_step(&ring->used, &ring->used_wrap, ring->size);
	return 1;
}

#endif
