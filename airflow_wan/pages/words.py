"""What the pages say, in English and in Chinese, and how they write numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LANGUAGES", "LANGUAGE_COOKIE", "WORDS", "Words", "choose_language"]

LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""The languages of the pages, and the value of the attribute ``lang`` for each."""

LANGUAGE_COOKIE = "wan_language"
"""The cookie in which the script of the pages tells the language chosen in Airflow, which only the browser knows."""

_ENGLISH = {
    "all": "All",
    "all_videos": "All videos",
    "all_videos_of_the_run": "All videos of this run",
    "ahead_of_it": "Videos ordered earlier and not finished yet: {n}",
    "as_table": "Show as a table",
    "being_made": "The gateway is making the video",
    "billed": "Billed",
    "billed_no": "No",
    "billed_perhaps": "Perhaps: nobody can tell yet",
    "billed_yes": "Yes",
    "clear": "Clear",
    "connection_lost": "No answer from Airflow. Trying again …",
    "copied": "Copied",
    "copy": "Copy",
    "copy_what": "Copy: {what}",
    "cost": "Cost",
    "cost_by_day": "Cost by day and DAG, last 30 days",
    "dag": "DAG",
    "day": "Day (UTC)",
    "dry_run": "This was a dry run: nothing was bought.",
    "error": "Error",
    "estimated": "Estimated",
    "expanded_prompt": "Prompt as the gateway expanded it",
    "facts_unreadable": "The task has left facts that this version cannot read.",
    "file_and_ids": "File and ids",
    "file_elsewhere": "The file is at a web address, which the API server never fetches.",
    "file_elsewhere_advice": "Give the task an output_path on a disk or in an object store.",
    "file_not_allowed": "The file is outside the folders and buckets that may be shown.",
    "file_not_allowed_advice": (
        "Add its folder or bucket to the option [wan] preview_bases of the API server, then reload this page."
    ),
    "file_not_found": "The API server does not find the file at this path.",
    "file_not_found_advice": (
        "If the file is on the disk of a worker, let the API server mount that folder, or set [wan] output_base to an "
        "object store. If it was moved or deleted, nothing is wrong here."
    ),
    "file_not_reachable": "The API server cannot read the store of the file.",
    "file_not_reachable_advice": (
        "Give the API server the store's Airflow connection and the package's extra for that store (s3, gcs, azure or "
        "oss)."
    ),
    "file_not_shown": "The file cannot be shown here",
    "file_replaced": "The file at this path is not, or cannot be shown to be, the one that this task left there.",
    "file_replaced_advice": "A later run has probably put its video there. Give each run an output_path of its own.",
    "file_unknown_type": "The file is of a type or size that these pages do not show.",
    "file_unknown_type_advice": (
        "They show mp4 and QuickTime videos, JPEG, PNG, WebP, AVIF and BMP pictures, and WAV, MP3 and M4A sounds, of "
        "at most 2 GiB."
    ),
    "filter": "Filter",
    "from_day": "From (UTC)",
    "gateway_code": "Gateway's code",
    "highest_day": "Highest day: {usd}",
    "in_all": "In all",
    "length": "Length",
    "length_in_all": "Length in all",
    "length_this_month": "Length this month",
    "media": "Media of the request",
    "media_elsewhere": "A web address; it is not fetched here",
    "media_not_allowed": "Outside [wan] preview_bases",
    "media_not_found": "Not found by the API server",
    "media_not_reachable": "Not reachable by the API server",
    "media_replaced": "Another file by now",
    "media_unknown_type": "Of a type or size that is not shown",
    "model": "Model",
    "more_videos": "There are more videos in this run than are shown here. The sums are of all of them.",
    "negative_prompt": "Negative prompt",
    "no_facts": "No video",
    "no_facts_yet": "The task has not begun, or it makes no video.",
    "no_video": "No video",
    "no_videos_in_run": "No task of this run has ordered a video",
    "no_videos_yet": "No videos yet",
    "no_videos_yet_advice": "Videos appear here as soon as a task has made one.",
    "none_ahead": "No video was ordered earlier and is still waited for",
    "not_known": "not known",
    "not_told": "not told by the gateway",
    "nothing_found": "No video matches these filters",
    "older": "Older videos",
    "open_what": "Open: {what}",
    "ordered_ago": "Since the order:",
    "ordered_length": "{length} ordered",
    "others": "Others",
    "pages": "Pages",
    "path": "Path",
    "play_what": "Play: {what}",
    "prompt": "Prompt",
    "prompt_contains": "Text in the prompt",
    "recipe": "Make this video again",
    "rejected_advice": (
        "It is kept, so that you can look at it. To accept it, set acceptance to warn or off and clear the task: the "
        "video is downloaded again and not paid again."
    ),
    "rejected_title": "This file was rejected",
    "request_id": "Request id",
    "resolution": "Resolution",
    "reused": "Reused: made earlier",
    "role_audio": "Audio",
    "role_driving_audio": "Driving audio",
    "role_first_clip": "First clip",
    "role_first_frame": "First frame",
    "role_last_frame": "Last frame",
    "role_reference_image": "Reference image",
    "role_reference_video": "Reference video",
    "role_reference_voice": "Reference voice",
    "role_video": "Video",
    "run_in_airflow": "Run in Airflow",
    "seed": "Seed",
    "settled": "Settled",
    "shortcomings": "Accepted, although it differs from the request",
    "size": "Size",
    "spending": "Spending",
    "spent": "Spent by this task",
    "spent_this_month": "Spent this month",
    "stage_deferred": "The gateway is making the video",
    "stage_queued": "The task is waiting for a worker",
    "stage_restarting": "The task is starting again",
    "stage_running": "The task is preparing the order",
    "stage_scheduled": "The task is waiting for a slot",
    "stage_up_for_reschedule": "The gateway is making the video",
    "stage_up_for_retry": "The task is waiting for its next try",
    "state": "State",
    "state_done": "Done",
    "state_dry_run": "Dry run",
    "state_failed": "Failed",
    "state_rejected": "Rejected",
    "state_skipped": "Skipped",
    "state_submitted": "Submitted",
    "state_unknown": "No video",
    "state_waiting": "Waiting",
    "step_accepted": "Checked and saved",
    "step_downloaded": "Downloaded",
    "step_ended": "Made",
    "step_published": "Checked and saved",
    "step_running": "Queued",
    "step_submitted": "Ordered",
    "task_in_airflow": "Task in Airflow",
    "the_video": "The video",
    "timeline": "Timeline",
    "to_day": "To (UTC)",
    "try_number": "try {n}",
    "unplayable": "This browser cannot play the file, or the file is gone.",
    "usual_wait": "Such videos take {median}; nine of ten take less than {slow} (known: {n})",
    "video": "Video",
    "video_of": "Video: {what}",
    "videos": "Videos",
    "videos_this_month": "Videos this month",
    "wan_task_id": "Wan task id",
    "ways": "Related pages",
    "what_happened": "What happened",
    "what_to_do": "What to do",
    "with_sound": "with sound",
    "without_sound": "without sound",
}

_CHINESE = {
    "all": "全部",
    "all_videos": "所有视频",
    "all_videos_of_the_run": "本次运行的所有视频",
    "ahead_of_it": "更早提交且尚未完成的视频：{n} 个",
    "as_table": "以表格显示",
    "being_made": "网关正在生成视频",
    "billed": "是否计费",
    "billed_no": "否",
    "billed_perhaps": "可能：目前无法确定",
    "billed_yes": "是",
    "clear": "清除",
    "connection_lost": "Airflow 没有响应，正在重试……",
    "copied": "已复制",
    "copy": "复制",
    "copy_what": "复制：{what}",
    "cost": "费用",
    "cost_by_day": "最近 30 天每日各 DAG 的费用",
    "dag": "DAG",
    "day": "日期（UTC）",
    "dry_run": "这是试运行：没有购买任何东西。",
    "error": "错误",
    "estimated": "预估费用",
    "expanded_prompt": "网关扩写后的提示词",
    "facts_unreadable": "任务留下的信息无法由此版本读取。",
    "file_and_ids": "文件与编号",
    "file_elsewhere": "文件位于网络地址，API 服务器不会下载它。",
    "file_elsewhere_advice": "请将任务的 output_path 设为磁盘或对象存储中的路径。",
    "file_not_allowed": "文件不在允许显示的文件夹或存储桶中。",
    "file_not_allowed_advice": "请将其文件夹或存储桶加入 API 服务器的选项 [wan] preview_bases，然后刷新本页。",
    "file_not_found": "API 服务器在此路径找不到文件。",
    "file_not_found_advice": (
        "如果文件在某个 worker 的磁盘上，请让 API 服务器挂载该文件夹，或将 [wan] output_base 设为对象存储。"
        "如果文件已被移动或删除，则无需处理。"
    ),
    "file_not_reachable": "API 服务器无法读取该文件所在的存储。",
    "file_not_reachable_advice": (
        "请为 API 服务器配置该存储的 Airflow 连接，并安装本软件包相应的附加组件（s3、gcs、azure 或 oss）。"
    ),
    "file_not_shown": "此处无法显示该文件",
    "file_replaced": "此路径上的文件不是(或无法确认是)该任务留下的文件。",
    "file_replaced_advice": "可能是之后的运行在此放置了自己的视频。请为每次运行设置各自的 output_path。",
    "file_unknown_type": "文件的类型或大小不在本页面的显示范围内。",
    "file_unknown_type_advice": (
        "可显示 mp4、QuickTime 视频，JPEG、PNG、WebP、AVIF、BMP 图片，以及 WAV、MP3、M4A 音频，最大 2 GiB。"
    ),
    "filter": "筛选",
    "from_day": "起始（UTC）",
    "gateway_code": "网关错误码",
    "highest_day": "最高单日：{usd}",
    "in_all": "合计",
    "length": "时长",
    "length_in_all": "总时长",
    "length_this_month": "本月时长",
    "media": "请求所用的素材",
    "media_elsewhere": "网络地址，此处不会下载",
    "media_not_allowed": "不在 [wan] preview_bases 中",
    "media_not_found": "API 服务器找不到",
    "media_not_reachable": "API 服务器无法访问",
    "media_replaced": "现已是另一个文件",
    "media_unknown_type": "类型或大小不在显示范围内",
    "model": "模型",
    "more_videos": "本次运行的视频多于此处所显示的。合计包含全部视频。",
    "negative_prompt": "反向提示词",
    "no_facts": "没有视频",
    "no_facts_yet": "任务尚未开始，或者它不生成视频。",
    "no_video": "没有视频",
    "no_videos_in_run": "本次运行没有任务提交过视频",
    "no_videos_yet": "还没有视频",
    "no_videos_yet_advice": "任务生成视频后会显示在这里。",
    "none_ahead": "没有更早提交且仍在等待的视频",
    "not_known": "未知",
    "not_told": "网关未告知",
    "nothing_found": "没有符合筛选条件的视频",
    "older": "更早的视频",
    "open_what": "打开：{what}",
    "ordered_ago": "提交至今：",
    "ordered_length": "请求时长 {length}",
    "others": "其他",
    "pages": "翻页",
    "path": "路径",
    "play_what": "播放：{what}",
    "prompt": "提示词",
    "prompt_contains": "提示词中的文字",
    "recipe": "再次生成此视频",
    "rejected_advice": (
        "文件已保留，可供查看。如要接受它，请将 acceptance 设为 warn 或 off 并清除该任务："
        "视频会重新下载，不会再次付费。"
    ),
    "rejected_title": "此文件未通过验收",
    "request_id": "请求编号",
    "resolution": "分辨率",
    "reused": "复用：此前已生成",
    "role_audio": "音频",
    "role_driving_audio": "驱动音频",
    "role_first_clip": "首段视频",
    "role_first_frame": "首帧",
    "role_last_frame": "尾帧",
    "role_reference_image": "参考图片",
    "role_reference_video": "参考视频",
    "role_reference_voice": "参考声音",
    "role_video": "视频",
    "run_in_airflow": "在 Airflow 中查看运行",
    "seed": "随机种子",
    "settled": "结算费用",
    "shortcomings": "已接受，但与请求不一致",
    "size": "大小",
    "spending": "支出",
    "spent": "本任务支出",
    "spent_this_month": "本月支出",
    "stage_deferred": "网关正在生成视频",
    "stage_queued": "任务正在等待 worker",
    "stage_restarting": "任务正在重新启动",
    "stage_running": "任务正在准备提交",
    "stage_scheduled": "任务正在等待空位",
    "stage_up_for_reschedule": "网关正在生成视频",
    "stage_up_for_retry": "任务正在等待下一次尝试",
    "state": "状态",
    "state_done": "完成",
    "state_dry_run": "试运行",
    "state_failed": "失败",
    "state_rejected": "未通过验收",
    "state_skipped": "已跳过",
    "state_submitted": "已提交",
    "state_unknown": "没有视频",
    "state_waiting": "等待中",
    "step_accepted": "验收并保存",
    "step_downloaded": "下载",
    "step_ended": "生成",
    "step_published": "验收并保存",
    "step_running": "排队",
    "step_submitted": "提交",
    "task_in_airflow": "在 Airflow 中查看任务",
    "the_video": "视频信息",
    "timeline": "时间线",
    "to_day": "截止（UTC）",
    "try_number": "第 {n} 次尝试",
    "unplayable": "此浏览器无法播放该文件，或者文件已不存在。",
    "usual_wait": "此类视频一般需要 {median}，九成少于 {slow}（已知 {n} 个）",
    "video": "视频",
    "video_of": "视频：{what}",
    "videos": "视频",
    "videos_this_month": "本月视频数",
    "wan_task_id": "Wan 任务编号",
    "ways": "相关页面",
    "what_happened": "发生了什么",
    "what_to_do": "如何处理",
    "with_sound": "有声音",
    "without_sound": "无声音",
}

WORDS: Mapping[str, Mapping[str, str]] = {"en": _ENGLISH, "zh": _CHINESE}
"""The words of each language by key."""

_MINUTE_S = 60
_HOUR_S = 3600
_LONG_S = 10


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language.

    :param language: a key of `LANGUAGES`.
    """

    language: str

    @property
    def html_lang(self) -> str:
        """The value of the attribute ``lang``."""
        return LANGUAGES[self.language]

    def __call__(self, key: str, *, or_else: str | None = None, **values: Any) -> str:
        """Return the words of a key.

        :param key: the key.
        :param or_else: what to say if there is no such key.
        :param values: what goes into the places of the words.
        :raises KeyError: when there is no such key, and nothing to say instead.
        """
        words = WORDS[self.language]
        if or_else is not None and key not in words:
            return or_else
        return words[key].format(**values)

    def seconds(self, seconds: float) -> str:
        """Return a video's length, such as ``5.04 s``."""
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + self._unit("s", " 秒")

    def long(self, seconds: float) -> str:
        """Return how long something took: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
        if round(seconds, 1) < _LONG_S:
            return f"{max(0.0, seconds):.1f}".removesuffix(".0") + self._unit("s", " 秒")
        whole = round(seconds)
        if whole < _MINUTE_S:
            return f"{whole}{self._unit('s', ' 秒')}"
        minutes, rest = divmod(whole, _MINUTE_S)
        if whole < _HOUR_S:
            return f"{minutes}{self._unit('min', ' 分')} {rest:02}{self._unit('s', ' 秒')}"
        hours, minutes = divmod(minutes, _MINUTE_S)
        return f"{hours}{self._unit('h', ' 小时')} {minutes:02}{self._unit('min', ' 分')}"

    def usd(self, usd: float, *, about: bool = False) -> str:
        """Return an amount of money, such as ``$1.20``; with a tilde if it is an estimate."""
        digits = 2 if usd == 0 or usd >= 1 else 3
        text = f"{usd:,.{digits}f}"
        return f"{'~' if about else ''}${text.removesuffix('0') if digits > 2 else text}"  # noqa: PLR2004

    def _unit(self, english: str, chinese: str) -> str:
        return chinese if self.language == "zh" else f" {english}"


def choose_language(cookie: str | None, accepted: str | None) -> Words:
    """Return the words of the reader's language.

    :param cookie: the value of `LANGUAGE_COOKIE`.
    :param accepted: the header ``Accept-Language``, which counts where Airflow's own language is not known.
    """
    if cookie in LANGUAGES:
        return Words(cookie)
    for entry in (accepted or "").split(","):
        language = entry.partition(";")[0].strip().partition("-")[0].lower()
        if language in LANGUAGES:
            return Words(language)
    return Words("en")
