/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: frames, requests and answers as bytes; a server with well-behaved clients, many
 * at once, rude ones and strangers; clients of a daemon that dies. And what builds the answers: text
 * and paths of any bytes, sizes and mounts, how safe extents are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/log.h"
#include "cli/command.h"
#include "ctl/call.h"

#define CLIENTS 40u

struct fixture {
	char top[64];
	char pool[4096];
	struct ctl_server *server;
	int stops;
};

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static void count_stop(void *ctx) { ++*(int *)ctx; }

static int start(struct fixture *f)
{
	struct ctl_server_config cfg = {.pool_dir = f->pool,
					.mountpoint = "/mnt/there",
					.request_stop = count_stop,
					.ctx = &f->stops};

	return ctl_server_start(&cfg, &f->server);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	log_set_sink(quiet, NULL);
	snprintf(f->top, sizeof(f->top), "/tmp/dynamicfs-ctl.XXXXXX");
	assert_non_null(mkdtemp(f->top));
	snprintf(f->pool, sizeof(f->pool), "%s", f->top);
	assert_int_equal(start(f), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	ctl_server_stop(f->server);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->top);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* ---- bytes ---- */

static void frames(void **state)
{
	json_t *j = json_pack("{s:s, s:i}", "op", "ping", "n", 7), *root, *args;
	const char *op;
	BUF got = {0};
	int fd[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(wire_send(fd[0], j, 1000), 0);
	assert_int_equal(wire_recv(fd[1], &got, 1000), 0);
	assert_int_equal(ctl_parse_request(got.data, got.len, &root, &op, &args), 0);
	assert_string_equal(op, "ping");
	assert_true(json_is_object(args));
	json_decref(root);
	json_decref(j);
	/* nothing comes */
	assert_int_equal(wire_recv(fd[1], &got, 50), DFS_ETIMEDOUT);
	/* a clean end, and one in the middle of a frame */
	assert_int_equal(write(fd[0], "1CT", 3), 3);
	shutdown(fd[0], SHUT_WR);
	assert_int_equal(wire_recv(fd[1], &got, 1000), DFS_EGONE);
	assert_int_equal(wire_recv(fd[1], &got, 1000), DFS_EEND);
	close(fd[0]);
	close(fd[1]);
}

static int receive(const void *data, size_t len)
{
	BUF got = {0};
	int fd[2], err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(write(fd[0], data, len), (ssize_t)len);
	shutdown(fd[0], SHUT_WR);
	err = wire_recv(fd[1], &got, 1000);
	close(fd[0]);
	close(fd[1]);
	return err;
}

static void bad_frames(void **state)
{
	BUF b = {0};

	(void)state;
	buf_put_le32(&b, CTL_MAGIC);
	buf_put_le32(&b, CTL_MAX_FRAME + 1);
	assert_int_equal(receive(b.data, b.len), DFS_EPROTO); /* longer than allowed */
	buf_reset(&b);
	buf_put_le32(&b, CTL_MAGIC);
	buf_put_le32(&b, CTL_MAX_FRAME);
	buf_put(&b, "{}", 2);
	assert_int_equal(receive(b.data, b.len), DFS_EGONE); /* shorter than it says */
	buf_reset(&b);
	buf_put_le32(&b, CTL_MAGIC + 1);
	buf_put_le32(&b, 2);
	buf_put(&b, "{}", 2);
	assert_int_equal(receive(b.data, b.len), DFS_EPROTO);
}

static void bad_requests(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"7",
		"\"ping\"",
		"{}",
		"{\"op\": 7}",
		"{\"op\": \"x\", \"args\": []}",
		"{\"op\": \"x\", \"op\": \"y\"}",
		"{\"op\": \"x\\u0000y\"}",
		"{\"op\": \"x\"} {}",
		"{\"op\": \"\xff\"}",
		"{\"op\": \"x\", \"args\": {\"n\": 99999999999999999999}}",
	};
	json_t *root, *args;
	const char *op;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ctl_parse_request(bad[i], strlen(bad[i]), &root, &op, &args),
				 DFS_EPROTO);
}

static void answers(void **state)
{
	struct ctl_answer a = {.error = DFS_EFOREIGN, .message = "because"}, b = {0};
	FREE char *text = NULL;
	json_t *j;

	(void)state;
	a.result = json_pack("{s:i}", "n", 3);
	j = wire_answer_encode(&a);
	text = json_dumps(j, 0);
	json_decref(j);
	assert_int_equal(wire_answer_decode(text, strlen(text), &b), 0);
	assert_int_equal(b.error, DFS_EFOREIGN);
	assert_string_equal(b.message, "because");
	assert_true(json_equal(a.result, b.result));
	ctl_answer_release(&a);
	ctl_answer_release(&b);
	assert_int_equal(wire_answer_decode("{\"progress\": {}}", 16, &b), 1);
	assert_int_equal(wire_answer_decode("{\"error\": 3}", 12, &b), DFS_EPROTO);
	assert_int_equal(wire_answer_decode("{\"error\": \"\"}", 13, &b), DFS_EPROTO);
	assert_int_equal(wire_answer_decode("[", 1, &b), DFS_EPROTO);
}

static void check_text(const char *in, const char *want)
{
	json_t *j = ctl_json_text(in);

	assert_string_equal(json_string_value(j), want);
	json_decref(j);
}

static void any_bytes(void **state)
{
	static const char *const paths[] = {"/plain",		"/with \"quotes\"",
					    "/umlaut-\xc3\xa4", "/not-utf8-\xff\xfe",
					    "/\xed\xa0\x80",	""};

	(void)state;
	check_text("plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
		   "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
	check_text("a\nb\033[31m", "a\\x0ab\\x1b[31m");
	check_text("\xff \xc3", "\\xff \\xc3");
	check_text("\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80",
		   "\\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		json_t *j = ctl_json_path(paths[i]);
		FREE char *back = ctl_path_from_json(j);

		assert_string_equal(back, paths[i]);
		json_decref(j);
	}
	for (int i = 0; i < 5; i++) {
		static const char *const bad[] = {"", "f", "0g", "6100", "6A"};
		json_t *j = json_pack("{s:s}", "hex", bad[i]);

		assert_null(ctl_path_from_json(j));
		json_decref(j);
	}
}

/* ---- server and clients ---- */

static int ask(const char *pool, const char *op, struct ctl_answer *a)
{
	json_t *args = json_object();
	int err = ctl_run(pool, op, args, a);

	json_decref(args);
	return err;
}

static void asked(void **state)
{
	struct fixture *f = *state;
	struct ctl_answer a;

	assert_int_equal(ask(f->pool, "ping", &a), 0);
	assert_string_equal(json_string_value(json_object_get(a.result, "mountpoint")),
			    "/mnt/there");
	assert_int_equal(json_integer_value(json_object_get(a.result, "pid")), getpid());
	ctl_answer_release(&a);
	assert_int_equal(f->stops, 0);
	assert_int_equal(ask(f->pool, "stop", &a), 0);
	assert_int_equal(f->stops, 1);
	ctl_answer_release(&a);
	/* not while mounted */
	assert_int_equal(ask(f->pool, "fsck", &a), DFS_EBUSY);
	assert_non_null(strstr(a.message, "/mnt/there"));
	ctl_answer_release(&a);
	assert_int_equal(ask(f->pool, "nonsense", &a), DFS_EINVAL);
	ctl_answer_release(&a);
}

static void socket_mode(void **state)
{
	struct fixture *f = *state;
	char path[4200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", f->pool, CTL_SOCKET_NAME);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	ctl_server_stop(f->server);
	f->server = NULL;
	assert_int_equal(stat(path, &st), -1);
}

static void client_thread(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 20; i++) {
		struct ctl_answer a;

		assert_int_equal(ask(f->pool, "ping", &a), 0);
		ctl_answer_release(&a);
	}
}

static void many_at_once(void **state)
{
	struct env_thread *t[CLIENTS];

	for (unsigned i = 0; i < CLIENTS; i++)
		t[i] = env_thread_start("client", client_thread, *state);
	for (unsigned i = 0; i < CLIENTS; i++)
		env_thread_join(t[i]);
}

/* Garbage is answered with an error; the server goes on. */
static void rude_clients(void **state)
{
	static const char junk[] = "GET / HTTP/1.1\r\n\r\n and a lot more";
	struct fixture *f = *state;
	struct ctl_answer a = {0};
	BUF frame = {0};
	int fd;

	assert_int_equal(ctl_connect(f->pool, &fd), 0);
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	assert_int_equal(wire_recv(fd, &frame, 5000), 0);
	assert_int_equal(wire_answer_decode(frame.data, frame.len, &a), 0);
	assert_int_equal(a.error, DFS_EPROTO);
	ctl_answer_release(&a);
	close(fd);
	/* closes before it asks; asks and doesn't wait for the answer */
	for (int i = 0; i < 20; i++) {
		json_t *j = json_pack("{s:s}", "op", "ping");

		assert_int_equal(ctl_connect(f->pool, &fd), 0);
		if (i % 2)
			assert_int_equal(wire_send(fd, j, 1000), 0);
		close(fd);
		json_decref(j);
	}
	assert_int_equal(ask(f->pool, "ping", &a), 0);
	ctl_answer_release(&a);
}

/* Clients that say nothing hold their slots; stopping doesn't wait for their time to run out. */
static void silent_clients(void **state)
{
	struct fixture *f = *state;
	uint64_t begin;
	int fd[12];

	for (int i = 0; i < 12; i++)
		assert_int_equal(ctl_connect(f->pool, &fd[i]), 0);
	env_sleep_ms(100);
	begin = env_now_ns();
	ctl_server_stop(f->server);
	f->server = NULL;
	assert_true(env_now_ns() - begin < 5000000000ull);
	for (int i = 0; i < 12; i++)
		close(fd[i]);
}

static void stale_socket(void **state)
{
	struct fixture *f = *state;
	struct ctl_server *old = f->server;
	struct ctl_answer a;
	int fd;

	/* a second server takes the name over, as after a crash */
	assert_int_equal(start(f), 0);
	assert_int_equal(ask(f->pool, "ping", &a), 0);
	ctl_answer_release(&a);
	ctl_server_stop(f->server);
	f->server = old;
	assert_int_equal(ctl_connect(f->pool, &fd), DFS_ENOENT);
	/* a socket's name with nobody behind it */
	struct sockaddr_un addr;
	struct ctl_dir *dir;
	int dead = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(ctl_dir_open(f->pool, &dir, &addr), 0);
	assert_int_equal(bind(dead, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ctl_dir_close(dir);
	close(dead);
	assert_int_equal(ctl_connect(f->pool, &fd), DFS_ENOENT);
}

static void long_path(void **state)
{
	struct fixture *f = *state;
	struct ctl_server *first = f->server;
	struct ctl_answer a;

	for (int i = 0; i < 3; i++) {
		size_t n = strlen(f->pool);

		snprintf(f->pool + n, sizeof(f->pool) - n, "/%0200d", i);
		assert_int_equal(mkdir(f->pool, 0700), 0);
	}
	assert_int_equal(start(f), 0);
	assert_int_equal(ask(f->pool, "ping", &a), 0);
	ctl_answer_release(&a);
	ctl_server_stop(f->server);
	snprintf(f->pool, sizeof(f->pool), "%s", f->top);
	f->server = first;
}

/* The daemon ends while it works on the request, after it has said that it is there. */
static void daemon_dies(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr;
	struct ctl_answer a;
	struct ctl_dir *dir;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), status;
	pid_t child;

	ctl_server_stop(f->server);
	f->server = NULL;
	assert_int_equal(ctl_dir_open(f->pool, &dir, &addr), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ctl_dir_close(dir);
	assert_int_equal(listen(listener, 1), 0);
	child = fork();
	if (child == 0) {
		BUF frame = {0};
		int ping = accept(listener, NULL, NULL), bad = ping < 0, fd;

		bad |= wire_recv(ping, &frame, 5000);
		close(ping);
		fd = accept(listener, NULL, NULL);
		_exit(bad || fd < 0 || wire_recv(fd, &frame, 5000));
	}
	assert_int_equal(ask(f->pool, "status", &a), DFS_EIO);
	assert_non_null(strstr(a.message, "daemon ended"));
	ctl_answer_release(&a);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(listener);
}

/* Another user is not answered, even if the socket lets it in. */
static void stranger(void **state)
{
	struct fixture *f = *state;
	char path[4200];
	pid_t child;
	int status;

	if (geteuid() != 0)
		skip();
	snprintf(path, sizeof(path), "%s/%s", f->pool, CTL_SOCKET_NAME);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(f->top, 0755), 0);
	child = fork();
	if (child == 0) {
		struct ctl_answer a = {0};
		int fd;

		if (setgid(65534) || setuid(65534) || ctl_connect(f->pool, &fd))
			_exit(1);
		_exit(ctl_request(fd, "/", "stop", NULL, &a) == DFS_EACCES ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(f->stops, 0);
}

/* ---- what answers are made of ---- */

static void safety(void **state)
{
	struct disk_view v[6];
	struct disk_views views = {.count = 6, .v = v};
	struct safety_table *t = xmalloc(sizeof(*t));
	struct rec_extent rs = {.len = 100, .k = 4, .m = 2, .wanted_k = 4, .wanted_m = 2};
	struct rec_extent copies = {.len = 10, .k = 1, .m = 2, .wanted_k = 1, .wanted_m = 2};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		v[i] = (struct disk_view){.id = {i + 1}, .present = true, .domain = i + 1};
		rs.frags[i].disk.v = i + 1;
		if (i < 3)
			copies.frags[i].disk.v = i + 1;
	}
	assert_int_equal(extent_losses_left(&rs, &views), 2);
	v[0].domain = v[1].domain = v[2].domain = 1; /* they are lost together */
	assert_int_equal(extent_losses_left(&rs, &views), 0);
	assert_int_equal(extent_losses_left(&copies, &views), 0);
	v[1].domain = 2;
	v[2].domain = 3;
	v[0].present = v[1].present = false;
	assert_int_equal(extent_losses_left(&rs, &views), 0);
	assert_int_equal(extent_losses_left(&copies, &views), 0);
	safety_table_init(t);
	safety_add(t, &rs, 100, &views);
	assert_int_equal(t->total.endangered, 1);
	v[0].present = true;
	safety_add(t, &rs, 100, &views);
	assert_int_equal(t->total.reduced, 1);
	v[0].present = false;
	v[2].present = false;
	safety_add(t, &rs, 100, &views);
	safety_add(t, &copies, 10, &views);
	assert_int_equal(t->total.lost, 2);
	assert_int_equal(t->total.least_left, -1);
	assert_int_equal(t->total.bytes, 310);
	copies.wanted_k = 4;
	safety_add(t, &copies, 10, &views);
	assert_int_equal(t->total.narrowed, 1);
	assert_int_equal(t->count, 3);
	copies.frags[0].disk.v = 0; /* lost for ever, or a disk that nobody knows */
	copies.frags[1].disk.v = 77;
	assert_int_equal(extent_losses_left(&copies, &views), -1);
	free(t);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"10G", GIB(10)},
		{"500M", MIB(500)},
		{"1.5T", GIB(1536)},
		{"2KiB", 2048},
		{"2kb", 2048},
		{"3 GiB", GIB(3)},
		{"7B", 7},
		{"1E", GIB(1) << 30},
	};
	static const char *const bad[] = {"",	 "G",  "-1",	"1X",  "1GG", "1iB2", "0x10",
					  "1e5", ".5", "1.2.3", "inf", "16E", "1 ",   "1G "};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(cli_parse_size(good[i].text, &v), 0);
		assert_int_equal(v, good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (cli_parse_size(bad[i], &v) != DFS_EINVAL)
			fail_msg("'%s' is taken for %llu", bad[i], (unsigned long long)v);
}

static void check_bytes(uint64_t bytes, const char *want)
{
	char text[FORMAT_VALUE_BYTES];

	format_bytes(bytes, text);
	assert_string_equal(text, want);
}

static void formats(void **state)
{
	char text[FORMAT_VALUE_BYTES];

	(void)state;
	check_bytes(0, "0 B");
	check_bytes(1023, "1023 B");
	check_bytes(1024, "1.0 KiB");
	check_bytes(MIB(1) - 1, "1.0 MiB");
	check_bytes(MIB(100), "100 MiB");
	check_bytes(UINT64_MAX, "16.0 EiB");
	format_number(0, text);
	assert_string_equal(text, "0");
	format_number(999, text);
	assert_string_equal(text, "999");
	format_number(1234567, text);
	assert_string_equal(text, "1,234,567");
	format_geometry("rs:4+2", text);
	assert_string_equal(text, "RS 4+2");
	format_geometry("replica:1", text);
	assert_string_equal(text, "1 copy");
}

static void mount_table(void **state)
{
	struct ctl_mount m;

	(void)state;
	assert_int_equal(ctl_mount_of("/proc/self", &m), DFS_ENOENT);
}

static void exit_codes(void **state)
{
	(void)state;
	assert_int_equal(cli_exit_code(0), 0);
	assert_int_equal(cli_exit_code(DFS_EIO), 1);
	assert_int_equal(cli_exit_code(DFS_EUSAGE), 2);
	assert_int_equal(cli_exit_code(DFS_ENOTPOOL), 3);
	assert_int_equal(cli_exit_code(DFS_ENODISK), 3);
	assert_int_equal(cli_exit_code(DFS_ELOCKED), 4);
	assert_int_equal(cli_exit_code(DFS_EDAMAGED), 5);
	assert_int_equal(cli_exit_code(DFS_EREFUSED), 6);
}

int main(void)
{
#define SERVED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames),
		cmocka_unit_test(bad_frames),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(answers),
		cmocka_unit_test(any_bytes),
		SERVED(asked),
		SERVED(socket_mode),
		SERVED(many_at_once),
		SERVED(rude_clients),
		SERVED(silent_clients),
		SERVED(stale_socket),
		SERVED(long_path),
		SERVED(daemon_dies),
		SERVED(stranger),
		cmocka_unit_test(safety),
		cmocka_unit_test(sizes),
		cmocka_unit_test(formats),
		cmocka_unit_test(mount_table),
		cmocka_unit_test(exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
