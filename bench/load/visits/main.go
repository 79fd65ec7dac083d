// Both ends of visits, and an HTTP asker. `target` is what a device forwards to: the first byte of a connection says what
// it shall do. The other commands are visitors; each prints one JSON line when it is done.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	blockBytes   = 256 * 1024
	messageBytes = 128
	answerBytes  = 256
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(fields map[string]interface{}) {
	line, _ := json.Marshal(fields)
	fmt.Println(string(line))
}

func percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(share*float64(len(sorted)-1))]
}

func serve(conn net.Conn) {
	defer conn.Close()
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	length := binary.BigEndian.Uint64(head[1:])
	switch head[0] {
	case 'd':
		block := make([]byte, blockBytes)
		for length > 0 {
			part := uint64(len(block))
			if part > length {
				part = length
			}
			written, err := conn.Write(block[:part])
			if err != nil {
				return
			}
			length -= uint64(written)
		}
	case 'u':
		block := make([]byte, blockBytes)
		for length > 0 {
			n, err := conn.Read(block)
			if err != nil {
				return
			}
			length -= uint64(n)
		}
		conn.Write([]byte{1})
	case 'e':
		block := make([]byte, messageBytes)
		for {
			if _, err := io.ReadFull(conn, block); err != nil {
				return
			}
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	case 'r':
		block := make([]byte, messageBytes)
		if _, err := io.ReadFull(conn, block); err != nil {
			return
		}
		conn.Write(make([]byte, answerBytes))
	}
}

func head(mode byte, length uint64) []byte {
	made := make([]byte, 9)
	made[0] = mode
	binary.BigEndian.PutUint64(made[1:], length)
	return made
}

func stream(addr string, mode byte, length uint64) {
	conn, err := net.Dial("tcp", addr)
	check(err)
	defer conn.Close()
	_, err = conn.Write(head(mode, length))
	check(err)
	block := make([]byte, blockBytes)
	if mode == 'd' {
		for got := uint64(0); got < length; {
			n, err := conn.Read(block)
			check(err)
			got += uint64(n)
		}
		return
	}
	for left := length; left > 0; {
		part := uint64(len(block))
		if part > left {
			part = left
		}
		n, err := conn.Write(block[:part])
		check(err)
		left -= uint64(n)
	}
	_, err = io.ReadFull(conn, block[:1])
	check(err)
}

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	flags := flag.NewFlagSet("visits", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:0", "")
	mode := flags.String("mode", "down", "down or up, as the visitor sees it")
	length := flags.Uint64("bytes", 1<<30, "of all streams together")
	streams := flags.Int("c", 1, "connections at once")
	seconds := flags.Float64("seconds", 3, "")
	bulk := flags.Bool("bulk", false, "one download goes on beside")
	url := flags.String("url", "", "")
	token := flags.String("token", "", "")
	sources := flags.Int("sources", 1, "")
	rate := flags.Float64("rate", 0, "asks a second; 0: as fast as it goes")
	check(flags.Parse(os.Args[2:]))
	switch os.Args[1] {
	case "target":
		listener, err := net.Listen("tcp", *addr)
		check(err)
		say(map[string]interface{}{"event": "ready", "port": listener.Addr().(*net.TCPAddr).Port})
		for {
			conn, err := listener.Accept()
			check(err)
			go serve(conn)
		}
	case "stream":
		startedAt := time.Now()
		var group sync.WaitGroup
		for i := 0; i < *streams; i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				stream(*addr, map[string]byte{"down": 'd', "up": 'u'}[*mode], *length/uint64(*streams))
			}()
		}
		group.Wait()
		say(map[string]interface{}{"seconds": time.Since(startedAt).Seconds(), "bytes": *length})
	case "trips", "requests":
		measure(*addr, os.Args[1], *streams, *seconds, *bulk)
	case "http":
		ask(*url, *token, *streams, *seconds, *sources, *rate)
	}
}

func measure(addr string, kind string, streams int, seconds float64, bulk bool) {
	stop := int32(0)
	took := make([][]float64, streams)
	var failed int64
	var group sync.WaitGroup
	if bulk {
		conn, err := net.Dial("tcp", addr)
		check(err)
		conn.Write(head('d', 1<<50))
		go func() {
			block := make([]byte, blockBytes)
			for {
				if _, err := conn.Read(block); err != nil {
					return
				}
			}
		}()
		time.Sleep(200 * time.Millisecond)
	}
	startedAt := time.Now()
	for i := 0; i < streams; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			message := make([]byte, messageBytes)
			answer := make([]byte, answerBytes)
			var conn net.Conn
			for atomic.LoadInt32(&stop) == 0 {
				at := time.Now()
				var err error
				if kind == "requests" {
					conn, err = net.Dial("tcp", addr)
					if err == nil {
						_, err = conn.Write(append(head('r', 0), message...))
					}
					if err == nil {
						_, err = io.ReadFull(conn, answer)
					}
					if conn != nil {
						conn.Close()
					}
				} else {
					if conn == nil {
						conn, err = net.Dial("tcp", addr)
						check(err)
						conn.Write(head('e', 0))
					}
					_, err = conn.Write(message)
					if err == nil {
						_, err = io.ReadFull(conn, answer[:messageBytes])
					}
				}
				if err != nil {
					if atomic.AddInt64(&failed, 1) > 1000 {
						return
					}
					conn = nil
					continue
				}
				took[i] = append(took[i], float64(time.Since(at).Microseconds())/1000)
			}
		}(i)
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	atomic.StoreInt32(&stop, 1)
	group.Wait()
	report(took, failed, time.Since(startedAt).Seconds())
}

func report(took [][]float64, failed int64, seconds float64) {
	var all []float64
	for _, some := range took {
		all = append(all, some...)
	}
	sort.Float64s(all)
	say(map[string]interface{}{"count": len(all), "failed": failed, "seconds": seconds,
		"p50": percentile(all, 0.5), "p90": percentile(all, 0.9), "p99": percentile(all, 0.99)})
}

// HTTP/1.1 by hand: net/http costs the asker more than the answer costs the server.
func ask(url string, token string, streams int, seconds float64, sources int, rate float64) {
	request, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	check(err)
	var text strings.Builder
	fmt.Fprintf(&text, "GET %s HTTP/1.1\r\nhost: %s\r\n", request.URL.RequestURI(), request.URL.Host)
	if token != "" {
		fmt.Fprintf(&text, "authorization: Bearer %s\r\n", token)
	}
	text.WriteString("\r\n")
	wire := []byte(text.String())
	stop := int32(0)
	took := make([][]float64, streams)
	var failed int64
	var group sync.WaitGroup
	startedAt := time.Now()
	for i := 0; i < streams; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			source := 2 + i%sources
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(source))}}
			conn, err := dialer.Dial("tcp", request.URL.Host)
			check(err)
			defer conn.Close()
			reader := bufio.NewReaderSize(conn, 64*1024)
			for n := 0; atomic.LoadInt32(&stop) == 0; n++ {
				if rate > 0 {
					due := startedAt.Add(time.Duration(float64(n) / rate * float64(streams) * float64(time.Second)))
					time.Sleep(time.Until(due))
				}
				at := time.Now()
				_, err := conn.Write(wire)
				check(err)
				if !answered(reader) {
					atomic.AddInt64(&failed, 1)
				}
				took[i] = append(took[i], float64(time.Since(at).Microseconds())/1000)
			}
		}(i)
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	atomic.StoreInt32(&stop, 1)
	group.Wait()
	report(took, failed, time.Since(startedAt).Seconds())
}

func answered(reader *bufio.Reader) bool {
	status, err := reader.ReadSlice('\n')
	check(err)
	good := len(status) > 9 && status[9] == '2'
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		check(err)
		if len(line) <= 2 {
			break
		}
		if len(line) > 16 && strings.EqualFold(string(line[:15]), "content-length:") {
			fmt.Sscanf(string(line[15:]), "%d", &length)
		}
	}
	_, err = reader.Discard(length)
	check(err)
	return good
}
