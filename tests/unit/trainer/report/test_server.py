import http.client
import threading

import pytest

from trainer.report.server import make_server


def test_the_page_is_read_anew_for_each_request_and_only_under_loopbacks_name(tmp_path, write_run):
    run = write_run(tmp_path / "run", steps=100, taken=10)
    with make_server([run], port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:

            def get(path: str = "/", host: str | None = None) -> tuple[int, str]:
                connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
                connection.request("GET", path, headers={"Host": host} if host else {})
                answer = connection.getresponse()
                return answer.status, answer.read().decode()

            assert "step 10 of 100" in get()[1]
            line = (run / "metrics.jsonl").read_text().splitlines()[-1]
            with (run / "metrics.jsonl").open("a") as file:
                file.write(line.replace('"step": 10', '"step": 11') + "\n")
            status, html = get()
            assert status == 200 and "step 11 of 100" in html and 'content="5"' in html
            assert get("/etc/passwd")[0] == 404
            assert get(host="attacker.example")[0] == 404
            (run / "options.json").unlink()
            assert get()[0] == 503
        finally:
            server.shutdown()
            thread.join()


def test_a_folder_without_a_run_is_an_error_before_anything_listens(tmp_path):
    with pytest.raises(ValueError, match="is not a training run"):
        make_server([tmp_path], port=0)
