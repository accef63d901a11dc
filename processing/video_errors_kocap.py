"""What can be wrong with a video, one class and one stable code per reason; and what is merely odd."""

from configuration.coded_errors_kocap import CodedError, Notice


class VideoError(CodedError, ValueError):
    """A video that cannot be used."""

    code = "E_VIDEO"
    message_ko = "영상을 읽을 수 없습니다. 다른 영상을 사용해 주세요."


class VideoEmptyError(VideoError):
    """Zero bytes."""

    code = "E_EMPTY"
    message_ko = "파일이 비어 있습니다(0바이트). 파일을 다시 내려받거나 다시 올려 주세요."


class NotVideoError(VideoError):
    """Bytes that no video container explains."""

    code = "E_NOT_VIDEO"
    message_ko = "영상 파일이 아니거나 심하게 손상되었습니다. MP4, MOV, MKV, WebM, AVI 같은 영상 파일을 사용해 주세요."


class VideoTruncatedError(VideoError):
    """The part that says where the frames are (mp4's moov box) is missing."""

    code = "E_TRUNCATED"
    message_ko = "파일이 끝까지 저장되지 않아 재생 정보가 없습니다. 원본을 다시 내려받거나 다시 올려 주세요."


class NoVideoStreamError(VideoError):
    """Sound, or sound with a cover picture, but no moving pictures."""

    code = "E_NO_VIDEO"
    message_ko = "파일에 소리만 있고 영상이 없습니다. 영상이 들어 있는 파일을 사용해 주세요."


class NotFileError(VideoError):
    """A directory, FIFO, device, socket, unreadable file or stream that cannot seek."""

    code = "E_NOT_FILE"
    message_ko = "일반 파일이 아니거나 읽을 권한이 없습니다. 영상 파일의 경로와 권한을 확인해 주세요."


class VideoNotFoundError(VideoError, FileNotFoundError):
    """Nothing at that path. Also a `FileNotFoundError`, which is what callers of `open` catch."""

    code = "E_NOT_FOUND"
    message_ko = "파일을 찾을 수 없습니다. 경로와 파일 이름을 확인해 주세요."


class VideoFormatError(VideoError):
    """Something that would make the reader open other files or the network: playlists, scripts, URLs."""

    code = "E_FORMAT"
    message_ko = "재생 목록이나 인터넷 주소는 열지 않습니다. 영상 파일을 내려받아 그 파일을 사용해 주세요."


class VideoCodecError(VideoError):
    """A codec that is not on the list of allowed ones."""

    code = "E_CODEC"
    message_ko = "지원하지 않는 방식으로 압축된 영상입니다. H.264(MP4)로 변환해 주세요."


class VideoTooLargeError(VideoError):
    """More pixels per frame than the limit."""

    code = "E_TOO_LARGE"
    message_ko = "영상의 해상도가 너무 큽니다. 더 작은 해상도(예: 4K 이하)로 변환해 주세요."


class VideoCorruptError(VideoError):
    """Nothing, or less than half of what was tried, decodes."""

    code = "E_CORRUPT"
    message_ko = "영상이 심하게 손상되어 장면을 읽을 수 없습니다. 원본을 다시 내려받거나 다른 파일을 사용해 주세요."


class VideoTooLongError(VideoError):
    """More bytes or more seconds than the limits allow."""

    code = "E_TOO_LONG"
    message_ko = "영상이 너무 길거나 파일이 너무 큽니다. 필요한 부분만 잘라서 사용해 주세요."


class VideoTimeoutError(VideoError):
    """Reading took longer than the limit."""

    code = "E_TIMEOUT"
    message_ko = "파일을 읽는 데 시간이 너무 오래 걸립니다. 더 짧거나 해상도가 낮은 파일로 변환해 주세요."


class DecoderCrashedError(VideoError):
    """The process that decoded an untrusted file died or ran into its memory limit."""

    code = "E_DECODER_CRASHED"
    message_ko = "파일을 읽던 중 디코더가 비정상 종료되었습니다. 손상된 파일일 수 있으니 다시 변환해 주세요."


class VideoResourcesError(VideoError):
    """Memory, threads or processes ran out; the video may well be good."""

    code = "E_RESOURCES"
    message_ko = "영상을 읽을 메모리나 스레드가 부족합니다. 다른 작업이 끝난 뒤 다시 시도해 주세요."


def is_out_of_resources(error: BaseException) -> bool:
    """Whether an error of FFmpeg, numpy or Python says that memory or threads ran out."""
    if isinstance(error, RuntimeError):
        return "can't start new thread" in str(error)
    return isinstance(error, MemoryError | BlockingIOError)  # FFmpeg's ENOMEM, and EAGAIN where a thread should begin


class FramesError(VideoError):
    """Frames given as an array of the wrong shape or type."""

    code = "E_FRAMES"
    message_ko = "프레임 배열의 형식이 맞지 않습니다. uint8 형식의 [T, 3, H, W] 배열을 사용해 주세요."


class VideoWarning(Notice):
    """Something odd about a video that was read all the same."""
