// Sends prepared bodies to a service on this machine, and prints as JSON what became of them.
//
// Bodies are posted to an ingest service, which says how many events it has accepted. With -whole each of them is a
// whole request in short, for a service of another kind.
//
// In the closed loop each connection sends its next body when the last one is answered. In the open loop (-rate) bodies
// are due at fixed times whatever the service does, and a latency counts from the time that the body was due: a service
// that stalls cannot hide it. The tool uses at most -cpu of a core, and says when that held it back. It is bounded in
// time and in requests, and refuses addresses that are not loopback.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	secondsMax     = 3600
	connectionsMax = 2000
	requestsMax    = 20_000_000
)

// headers collects the values of a flag that may be repeated.
type headers []string

func (h *headers) String() string { return strings.Join(*h, ", ") }

func (h *headers) Set(line string) error {
	if !strings.Contains(line, ": ") || strings.ContainsAny(line, "\r\n") {
		return fmt.Errorf("%q: write NAME: VALUE", line)
	}
	*h = append(*h, line)
	return nil
}

type options struct {
	url           string
	bodies        string
	headers       headers
	connections   int
	seconds       float64
	rate          float64
	requests      int64
	cpu           float64
	ignores       bool
	freshIDs      bool
	whole         bool
	client        uint
	acknowledged  string
	timeout       time.Duration
	host, path    string
	eventsPerBody int
}

func parsed() (*options, error) {
	o := &options{}
	flag.StringVar(&o.url, "url", "", "where bodies are posted; the address must be loopback")
	flag.StringVar(&o.bodies, "bodies", "", "a file of bodies, each behind its length in four bytes, big-endian")
	flag.Var(&o.headers, "header", "a header as NAME: VALUE; may be repeated")
	flag.IntVar(&o.connections, "connections", 4, "how many connections are kept open")
	flag.Float64Var(&o.seconds, "seconds", 5, "how long bodies are sent")
	flag.Float64Var(&o.rate, "rate", 0, "requests a second in the open loop; 0 is the closed loop")
	flag.Int64Var(&o.requests, "requests-max", 2_000_000, "how many requests are sent at most")
	flag.Float64Var(&o.cpu, "cpu", 0.5, "the share of one core that the tool may use")
	flag.BoolVar(&o.ignores, "ignores-refusals", false, "go on at once after 429 and 503, whatever Retry-After says")
	flag.BoolVar(&o.freshIDs, "fresh-ids", false, "write the client and the request's number into each event_id")
	flag.BoolVar(&o.whole, "whole", false, "each body begins with a line of method and path, and its answer has any form")
	flag.UintVar(&o.client, "client", 0, "the number of this client in fresh ids, 0 to 15")
	flag.StringVar(&o.acknowledged, "acknowledged", "", "the file for the numbers of requests taken as a whole")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long an answer may take")
	flag.IntVar(&o.eventsPerBody, "events", 1, "how many events each body has")
	flag.Parse()
	to, err := url.Parse(o.url)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(to.Hostname()); to.Scheme != "http" || ip == nil || !ip.IsLoopback() || to.Port() == "" {
		return nil, fmt.Errorf("-url=%s: give http, a loopback address such as 127.0.0.1, and a port", o.url)
	}
	o.host, o.path = to.Host, to.RequestURI()
	return o, o.check()
}

func (o *options) check() error {
	switch {
	case o.connections < 1 || o.connections > connectionsMax:
		return fmt.Errorf("-connections=%d: give 1 to %d", o.connections, connectionsMax)
	case !(o.seconds > 0 && o.seconds <= secondsMax):
		return fmt.Errorf("-seconds=%g: give more than 0 and at most %d", o.seconds, secondsMax)
	case o.requests < 1 || o.requests > requestsMax:
		return fmt.Errorf("-requests-max=%d: give 1 to %d", o.requests, requestsMax)
	case !(o.cpu > 0 && o.cpu <= 1):
		return fmt.Errorf("-cpu=%g: give more than 0 and at most 1", o.cpu)
	case !(o.rate >= 0 && o.rate <= 1e6):
		return fmt.Errorf("-rate=%g: give 0 to 1000000", o.rate)
	case o.whole && o.freshIDs:
		return fmt.Errorf("-fresh-ids does not go with -whole: only events have ids")
	case o.client > clientMax:
		return fmt.Errorf("-client=%d: give 0 to %d", o.client, clientMax)
	}
	return nil
}

func run() error {
	o, err := parsed()
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	bodies, err := readBodies(o)
	if err != nil {
		return err
	}
	clients := make([]*connection, o.connections)
	for n := range clients {
		clients[n] = &connection{options: o}
		if err := clients[n].open(); err != nil {
			return fmt.Errorf("-url=%s: %w", o.url, err)
		}
	}
	began := time.Now()
	pace := newPace(o, began)
	var all sync.WaitGroup
	for _, one := range clients {
		all.Go(func() { one.send(bodies, pace) })
	}
	all.Wait()
	told, err := json.Marshal(summary(o, clients, pace, time.Since(began)))
	if err != nil {
		return err
	}
	fmt.Println(string(told))
	return keepAcknowledged(o.acknowledged, clients)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
}
