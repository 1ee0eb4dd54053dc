package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// batch has the events of one salt that share a record. `err` is set before `done` is closed.
type batch struct {
	datums []byte
	count  int
	done   chan struct{}
	err    error
}

type place struct {
	batch *batch
	index int
}

type writer struct {
	sync.Mutex
	client *kgo.Client
	prefix []byte
	open   []*batch
	sentAt []time.Time
	ticks  bool
}

// add takes an encoded event over; the writer must be locked.
func (w *writer) add(salt int, datum []byte) *batch {
	b := w.open[salt]
	if b == nil {
		b = &batch{done: make(chan struct{})}
		w.open[salt] = b
	}
	b.datums = append(b.datums, datum...)
	if b.count++; b.count >= batchEventsMax {
		w.send(salt)
	}
	if !w.ticks {
		w.ticks = true
		time.AfterFunc(linger, w.flush)
	}
	return b
}

func (w *writer) flush() {
	w.Lock()
	defer w.Unlock()
	w.ticks = false
	for salt, b := range w.open {
		if b != nil {
			w.send(salt)
		}
	}
}

// send writes the open batch of a salt, or a heartbeat if there is none.
func (w *writer) send(salt int) {
	b := w.open[salt]
	if b == nil {
		b = &batch{done: make(chan struct{})}
	}
	w.open[salt], w.sentAt[salt] = nil, time.Now()
	value := make([]byte, len(w.prefix)+16, len(b.datums)+80)
	rand.Read(value[copy(value, w.prefix):])
	value = append(binary.AppendVarint(value, 4), "peer"...)
	value = binary.AppendVarint(value, int64(salt))
	value = binary.AppendVarint(value, int64(*salts))
	value = binary.AppendVarint(value, time.Now().UnixMilli())
	if b.count > 0 {
		value = append(binary.AppendVarint(value, int64(b.count)), b.datums...)
	}
	record := &kgo.Record{
		Topic: *topic, Partition: int32(salt % *partitions), Value: append(value, 0),
		Key: binary.BigEndian.AppendUint32(nil, uint32(salt)),
	}
	w.client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
		b.err = err
		close(b.done)
	})
}

func (w *writer) heartbeats() {
	for range time.Tick(heartbeat / 4) {
		w.Lock()
		for salt := range w.open {
			if w.open[salt] == nil && time.Since(w.sentAt[salt]) >= heartbeat {
				w.send(salt)
			}
		}
		w.Unlock()
	}
}
