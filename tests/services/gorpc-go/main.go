// The judge of crates/gorpc: a server and a client of the same remote calls, on Go's own encoding/gob and compress/flate
// and on nothing else. Go's library reads what the Rust code writes, and writes what it has to read.
//
//	gorpc-go serve             prints its port; then one JSON line a call: name, argument, pool, compressed
//	gorpc-go call ADDRESS      calls each line of stdin, {"name": …, "argument": …}; prints {"value": …} or {"error": …}
//
// serve: .Ping answers true, .Login whether the argument is "secret-key", .Fail an error, .Crash an error of the envelope,
// .Echo its argument, everything that begins with .Purge nothing.
package main

import (
	"bufio"
	"compress/flate"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

type wireRequest struct {
	ID      uint64
	Request any
}

type wireResponse struct {
	ID       uint64
	Response any
	Error    string
}

type dispatcherRequest struct {
	Request any
	Name    string
}

type dispatcherResponse struct {
	Response any
	Error    string
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Both directions of a connection, below gob.
type stream struct {
	io.Reader
	io.Writer
	flush func() error
}

func streamOf(conn net.Conn, reader io.Reader, compressed bool) stream {
	if !compressed {
		return stream{reader, conn, func() error { return nil }}
	}
	writer, err := flate.NewWriter(conn, flate.BestSpeed)
	check(err)
	return stream{flate.NewReader(reader), writer, writer.Flush}
}

var printing sync.Mutex

func show(line any) {
	printing.Lock()
	defer printing.Unlock()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(line))
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	show(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		check(err)
		go func() {
			if err := connection(conn); err != nil && err != io.EOF {
				show(map[string]any{"broken": err.Error()})
			}
			conn.Close()
		}()
	}
}

func connection(conn net.Conn) error {
	reader := bufio.NewReader(conn)
	magic := make([]byte, 7)
	if _, err := io.ReadFull(reader, magic); err != nil {
		return err
	}
	if string(magic[:6]) != "proto2" {
		return fmt.Errorf("preamble %q", magic)
	}
	pool := make([]byte, magic[6])
	if _, err := io.ReadFull(reader, pool); err != nil {
		return err
	}
	flag, err := reader.ReadByte()
	if err != nil {
		return err
	}
	s := streamOf(conn, reader, flag != 0)
	decoder, encoder := gob.NewDecoder(s), gob.NewEncoder(s)
	for {
		var wire wireRequest
		if err := decoder.Decode(&wire); err != nil {
			return err
		}
		request, ok := wire.Request.(*dispatcherRequest)
		if !ok {
			return fmt.Errorf("request of type %T", wire.Request)
		}
		show(map[string]any{"name": request.Name, "argument": request.Request, "pool": string(pool), "compressed": flag != 0})
		answer, inner := wireResponse{ID: wire.ID}, &dispatcherResponse{}
		answer.Response = inner
		switch {
		case request.Name == ".Ping":
			inner.Response = true
		case request.Name == ".Login":
			inner.Response = request.Request == "secret-key"
		case request.Name == ".Echo":
			inner.Response = request.Request
		case request.Name == ".Fail":
			inner.Error = "storage unavailable"
		case request.Name == ".Crash":
			answer.Response, answer.Error = nil, "handler crashed"
		case strings.HasPrefix(request.Name, ".Purge"):
		default:
			inner.Error = fmt.Sprintf("gorpc.Dispatcher: unknown method [%s]", request.Name)
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
}

func call(address string) {
	conn, err := net.Dial("tcp", address)
	check(err)
	_, err = conn.Write([]byte("proto2\x07gorpcgo\x01"))
	check(err)
	s := streamOf(conn, conn, true)
	decoder, encoder := gob.NewDecoder(s), gob.NewEncoder(s)
	lines := json.NewDecoder(os.Stdin)
	for id := uint64(1); ; id++ {
		var line struct {
			Name     string
			Argument any
		}
		if err := lines.Decode(&line); err == io.EOF {
			return
		} else {
			check(err)
		}
		check(encoder.Encode(wireRequest{ID: id, Request: &dispatcherRequest{Request: line.Argument, Name: line.Name}}))
		check(s.flush())
		var wire wireResponse
		check(decoder.Decode(&wire))
		if wire.ID != id {
			check(fmt.Errorf("answer to call %d instead of %d", wire.ID, id))
		}
		if wire.Error != "" {
			show(map[string]any{"broken": wire.Error})
			continue
		}
		response, ok := wire.Response.(*dispatcherResponse)
		if !ok {
			check(fmt.Errorf("response of type %T", wire.Response))
		}
		if response.Error != "" {
			show(map[string]any{"error": response.Error})
			continue
		}
		show(map[string]any{"value": response.Response})
	}
}

func main() {
	gob.RegisterName("*gorpc.dispatcherRequest", &dispatcherRequest{})
	gob.RegisterName("*gorpc.dispatcherResponse", &dispatcherResponse{})
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		serve()
	case len(os.Args) == 3 && os.Args[1] == "call":
		call(os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: gorpc-go serve | call ADDRESS")
		os.Exit(2)
	}
}
