package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	answerBytesMax = 1 << 20
	// So that a service that is away is not asked in a tight loop.
	afterBreak = 20 * time.Millisecond
)

var acceptedMark = []byte(`"accepted":`)

// connection sends one body after the other, and remembers what became of each.
type connection struct {
	options      *options
	conn         net.Conn
	answers      *bufio.Reader
	room         []byte
	statuses     map[int]int64
	broken       int64
	partly       int64
	events       int64
	answerBytes  int64
	acknowledged []uint32
	takenUs      []int32
	refusedUs    []int32
	sentUs       []int32
	firstBreak   string
}

func (c *connection) open() error {
	conn, err := net.DialTimeout("tcp", c.options.host, c.options.timeout)
	if err != nil {
		return err
	}
	c.conn, c.answers = conn, bufio.NewReaderSize(conn, 4<<10)
	if c.statuses == nil {
		c.statuses = map[int]int64{}
	}
	return nil
}

func (c *connection) send(bodies []body, p *pace) {
	for {
		number, due, more := p.take()
		if !more {
			break
		}
		if c.conn == nil && c.open() != nil {
			c.broken++
			time.Sleep(afterBreak)
			continue
		}
		one := &bodies[number%int64(len(bodies))]
		c.room = one.fresh(c.room, c.options.client, number)
		request := c.room
		if len(one.ids) == 0 {
			request = one.request
		}
		sentAt := time.Now()
		status, accepted, wait, err := c.exchange(request)
		if err != nil {
			c.broken++
			if c.firstBreak == "" {
				c.firstBreak = err.Error()
			}
			c.close()
			time.Sleep(afterBreak)
			continue
		}
		c.sentUs = append(c.sentUs, micros(time.Since(sentAt)))
		c.note(number, status, accepted, time.Since(due))
		if wait > 0 {
			p.holdBack(wait)
		}
	}
	c.close()
}

func (c *connection) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// exchange sends a request and reads its answer: the status, the accepted events, and the wait that the answer asks for.
func (c *connection) exchange(request []byte) (int, int64, time.Duration, error) {
	c.conn.SetDeadline(time.Now().Add(c.options.timeout))
	_, writeErr := c.conn.Write(request)
	// A service may refuse and close before it has read the body: its answer is there all the same.
	answer, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		if writeErr != nil {
			err = writeErr
		}
		return 0, 0, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerBytesMax))
	answer.Body.Close()
	if err != nil {
		return 0, 0, 0, err
	}
	if answer.Close || writeErr != nil {
		c.close()
	}
	var accepted int64
	if !c.options.whole {
		accepted, err = acceptedIn(text)
		if err != nil && answer.StatusCode/100 == 2 {
			return 0, 0, 0, err
		}
	}
	c.answerBytes += int64(len(text))
	var wait time.Duration
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && answer.StatusCode >= 429 {
		wait = time.Duration(seconds) * time.Second
	}
	return answer.StatusCode, accepted, wait, nil
}

func acceptedIn(answer []byte) (int64, error) {
	at := bytes.Index(answer, acceptedMark)
	if at < 0 {
		return 0, fmt.Errorf("the answer does not say how many events were accepted: %.200s", answer)
	}
	digits := bytes.TrimLeft(answer[at+len(acceptedMark):], " ")
	end := bytes.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	return strconv.ParseInt(string(digits[:max(end, 0)]), 10, 64)
}

func micros(took time.Duration) int32 { return int32(min(took.Microseconds(), 1<<31-1)) }

func (c *connection) note(number int64, status int, accepted int64, took time.Duration) {
	c.statuses[status]++
	if status/100 != 2 {
		c.refusedUs = append(c.refusedUs, micros(took))
		return
	}
	c.takenUs = append(c.takenUs, micros(took))
	c.events += accepted
	if c.options.whole {
		return
	}
	if accepted != int64(c.options.eventsPerBody) {
		c.partly++
	} else if c.options.acknowledged != "" {
		c.acknowledged = append(c.acknowledged, uint32(number))
	}
}
