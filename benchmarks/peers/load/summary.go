package main

import (
	"bufio"
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"time"
)

type figures struct {
	Requests     int64            `json:"requests"`
	Statuses     map[string]int64 `json:"statuses"`
	Broken       int64            `json:"broken"`
	FirstBreak   string           `json:"first_break,omitempty"`
	Acknowledged int64            `json:"acknowledged"`
	Partly       int64            `json:"partly_acknowledged_requests"`
	AnswerBytes  int64            `json:"answer_bytes"`
	Seconds      float64          `json:"seconds"`
	P50Ms        float64          `json:"p50_ms"`
	P99Ms        float64          `json:"p99_ms"`
	MaxMs        float64          `json:"max_ms"`
	RefusedP99   float64          `json:"refused_p99_ms"`
	// From the first byte of a request to the end of its answer, without the wait for a connection that is free.
	SentP99Ms float64 `json:"sent_p99_ms"`
	HeldBack  int64   `json:"held_back"`
	NotSent   int64   `json:"not_sent"`
	CPU       float64 `json:"cpu_share"`
	Throttled float64 `json:"throttled_s"`
}

func summary(o *options, clients []*connection, p *pace, took time.Duration) figures {
	told := figures{
		Statuses: map[string]int64{}, HeldBack: p.heldBack.Load(), NotSent: p.notSent.Load(),
		Seconds: took.Seconds(), CPU: float64(cpuTime()-p.cpu0) / float64(took),
		Throttled: time.Duration(p.heldNs.Load()).Seconds(),
	}
	var taken, refused, sent []int32
	for _, one := range clients {
		for status, count := range one.statuses {
			told.Statuses[strconv.Itoa(status)] += count
			told.Requests += count
		}
		told.Broken += one.broken
		told.Requests += one.broken
		told.Partly += one.partly
		told.Acknowledged += one.events
		told.AnswerBytes += one.answerBytes
		if told.FirstBreak == "" {
			told.FirstBreak = one.firstBreak
		}
		taken, refused = append(taken, one.takenUs...), append(refused, one.refusedUs...)
		sent = append(sent, one.sentUs...)
	}
	slices.Sort(taken)
	slices.Sort(refused)
	slices.Sort(sent)
	told.P50Ms, told.P99Ms, told.MaxMs = quantile(taken, 0.5), quantile(taken, 0.99), quantile(taken, 1)
	told.RefusedP99 = quantile(refused, 0.99)
	told.SentP99Ms = quantile(sent, 0.99)
	return told
}

// quantile of sorted µs, in ms; 0 of nothing.
func quantile(sorted []int32, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]) / 1000
}

// keepAcknowledged writes the numbers of requests whose events were all acknowledged: four bytes each, little-endian.
func keepAcknowledged(path string, clients []*connection) error {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for _, one := range clients {
		for _, number := range one.acknowledged {
			if err := binary.Write(out, binary.LittleEndian, number); err != nil {
				return err
			}
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Close()
}
