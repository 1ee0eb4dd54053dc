package main

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	budgetEvery = 5 * time.Millisecond
	budgetAhead = 20 * time.Millisecond
)

// pace says when the next request is due, and keeps the tool within its share of a core.
type pace struct {
	options *options
	began   time.Time
	ends    time.Time
	next    atomic.Int64
	// Until when the whole client holds back, in ns since `began`, because an answer asked for it.
	quiet    atomic.Int64
	notSent  atomic.Int64
	heldBack atomic.Int64
	// Locked while the tool has used more than its share.
	gate   sync.RWMutex
	heldNs atomic.Int64
	cpu0   time.Duration
}

func newPace(o *options, began time.Time) *pace {
	p := &pace{options: o, began: began, ends: began.Add(time.Duration(o.seconds * 1e9)), cpu0: cpuTime()}
	go p.budget()
	return p
}

// take returns the number of the next request and the time from which its latency counts; false at the end.
func (p *pace) take() (int64, time.Time, bool) {
	for {
		p.gate.RLock()
		p.gate.RUnlock() //nolint:staticcheck // passing the gate is all that is wanted
		number := p.next.Add(1) - 1
		now := time.Now()
		if number >= p.options.requests || !now.Before(p.ends) {
			return 0, now, false
		}
		if p.options.rate == 0 {
			if wait := time.Duration(p.quiet.Load()) - now.Sub(p.began); wait > 0 {
				time.Sleep(min(wait, p.ends.Sub(now)))
				p.heldBack.Add(1)
				continue
			}
			return number, now, true
		}
		due := p.began.Add(time.Duration(float64(number) / p.options.rate * 1e9))
		if !due.Before(p.ends) {
			return 0, now, false
		}
		time.Sleep(due.Sub(now))
		switch {
		case due.Sub(p.began) < time.Duration(p.quiet.Load()):
			p.heldBack.Add(1)
		case time.Since(due) > p.options.timeout:
			// Whoever waited for so long has gone.
			p.notSent.Add(1)
		default:
			return number, due, true
		}
	}
}

// holdBack stops the whole client, unless it ignores what answers ask for.
func (p *pace) holdBack(wait time.Duration) {
	if p.options.ignores {
		return
	}
	until := int64(time.Since(p.began) + wait)
	for old := p.quiet.Load(); old < until && !p.quiet.CompareAndSwap(old, until); old = p.quiet.Load() {
	}
}

// budget closes the gate while the tool is ahead of its share of CPU time.
func (p *pace) budget() {
	for {
		time.Sleep(budgetEvery)
		used, allowed := cpuTime()-p.cpu0, float64(time.Since(p.began))*p.options.cpu
		over := float64(used) - allowed - float64(budgetAhead)
		if over <= 0 {
			continue
		}
		p.gate.Lock()
		wait := time.Duration(math.Ceil(over / p.options.cpu))
		time.Sleep(wait)
		p.heldNs.Add(int64(wait))
		p.gate.Unlock()
	}
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
